use std::{collections::BTreeSet, sync::Mutex};

use lb_core::desired::{DesiredBackend, DesiredService};

use super::*;
use crate::dataplane::{Dataplane, Unsupported};

/// A dataplane in memory that writes down what is asked of it, and fails when told to. Of the kind at that place of
/// [`DataplaneKind::ALL`].
#[derive(Clone, Default)]
struct Fake<const KIND: usize = SOCKET>(Arc<Mutex<FakeState>>);

const SOCKET: usize = 0;
const IPVS: usize = 1;
const PACKET: usize = 2;

#[derive(Default)]
struct FakeState {
    held: DesiredState,
    log: Vec<String>,
    failures: usize,
    evictions_fail: bool,
    ineffective: Option<String>,
    active: u64,
}

impl<const AT: usize> Dataplane for Fake<AT> {
    const KIND: DataplaneKind = DataplaneKind::ALL[AT];

    type Native = DesiredState;
    type Change = DesiredState;

    fn observe(&mut self, _: &DesiredState) -> Result<DesiredState, DataplaneError> {
        Ok(self.0.lock().unwrap().held.clone())
    }
    fn lower(&self, desired: &DesiredState) -> Result<DesiredState, Unsupported> {
        Ok(desired.clone())
    }
    fn diff(observed: &DesiredState, wanted: &DesiredState) -> Vec<DesiredState> {
        if observed == wanted { Vec::new() } else { vec![wanted.clone()] }
    }
    fn subject(_: &DesiredState) -> Option<std::net::SocketAddr> {
        None
    }
    fn apply(&mut self, change: &DesiredState) -> Result<(), DataplaneError> {
        let mut state = self.0.lock().unwrap();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(DataplaneError::failed("program", "the fake")("told to fail"));
        }
        state.held = change.clone();
        state.log.push("programmed".to_owned());
        Ok(())
    }
    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        let mut state = self.0.lock().unwrap();
        if state.evictions_fail {
            return Err(DataplaneError::failed("ask", "the fake")("told to fail"));
        }
        state.log.push(format!("evicted {}", evictions[0].pair.1));
        Ok(Evicted { ended: evictions.len(), failed: 0 })
    }
    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        let active = self.0.lock().unwrap().active;
        Ok(BTreeMap::from([((vip(), backend(1)), Counters { active, total: active, refused: 0 })]))
    }
    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        let ineffective = self.0.lock().unwrap().ineffective.clone();
        let (warnings, facts) = (vec!["slow".to_owned()], vec![("pins".to_owned(), "/x".to_owned())]);
        Ok(Inspection { ineffective, warnings, facts })
    }
    fn settle(&mut self) -> Result<(), DataplaneError> {
        Ok(())
    }
    fn resync(&self) -> Duration {
        Duration::from_secs(5 - AT as u64)
    }
    fn quiesce(&mut self) -> Result<(), DataplaneError> {
        self.0.lock().unwrap().log.push("quiesced".to_owned());
        Ok(())
    }
    fn resume(&mut self) {
        self.0.lock().unwrap().log.push("resumed".to_owned());
    }
    fn remove(&mut self) -> Result<(), DataplaneError> {
        self.0.lock().unwrap().log.push("removed".to_owned());
        Ok(())
    }
}

fn vip() -> std::net::SocketAddr {
    "10.103.97.2:6443".parse().unwrap()
}

fn backend(n: u8) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([192, 168, 0, n], 6443))
}

fn desired(serving: &[u8]) -> Arc<DesiredState> {
    let serving: Vec<_> =
        serving.iter().map(|n| DesiredBackend { address: backend(*n), weight: 1 }).collect();
    let service = DesiredService {
        name: "apiserver".parse().unwrap(),
        vip: vip(),
        policy: lb_core::model::Policy::Random,
        members: serving.iter().map(|b| b.address).collect(),
        serving,
        reserve: BTreeSet::new(),
        severed: Default::default(),
    };
    Arc::new(DesiredState { services: vec![service] })
}

fn start(fake: &Fake) -> (Reconciler, mpsc::Receiver<Report>) {
    let (tx, rx) = mpsc::channel(16);
    (Reconciler::start(planes_of(fake), tx).unwrap(), rx)
}

fn planes_of<const KIND: usize>(fake: &Fake<KIND>) -> Planes {
    Planes::new(vec![Box::new(fake.clone())], Vec::new())
}

fn reconciled(reports: &mut mpsc::Receiver<Report>) -> Reconciled {
    loop {
        if let Report::Reconciled(report) = reports.blocking_recv().unwrap() {
            return report;
        }
    }
}

fn all_of(n: u8) -> Eviction {
    Eviction { pair: (vip(), backend(n)), which: Which::All }
}

#[test]
fn a_dead_backend_leaves_the_kernel_before_its_connections_are_ended() {
    let fake = Fake::default();
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[1, 2]), Vec::new());
    reconciled(&mut reports);
    reconciler.order(desired(&[2]), vec![all_of(1)]);
    reconciled(&mut reports);
    let log = fake.0.lock().unwrap().log.clone();
    assert_eq!(log[..3], ["programmed", "programmed", "evicted 192.168.0.1:6443"]);
}

#[test]
fn connections_are_looked_for_again_after_an_eviction() {
    let fake = Fake::default();
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[2]), vec![all_of(1)]);
    let mut evictions = 0;
    while evictions < 1 + SWEEPS.len() {
        if let Report::Evicted(result) = reports.blocking_recv().unwrap() {
            result.unwrap();
            evictions += 1;
        }
    }
}

#[test]
fn a_backend_that_serves_again_keeps_its_connections() {
    let fake = Fake::default();
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[1]), vec![all_of(1)]);
    reconciled(&mut reports);
    assert_eq!(fake.0.lock().unwrap().log, ["programmed"]);
}

#[test]
fn a_change_that_fails_once_is_tried_again_from_an_observation() {
    let fake = Fake::default();
    fake.0.lock().unwrap().failures = 1;
    let (reconciler, mut reports) = start(&fake);
    let generation = reconciler.order(desired(&[1]), Vec::new());
    let report = reconciled(&mut reports);
    assert_eq!((report.generation, report.error), (generation, None));
    assert_eq!(fake.0.lock().unwrap().held, *desired(&[1]));
}

#[test]
fn a_change_that_keeps_failing_is_reported_with_its_cause() {
    let fake = Fake::default();
    fake.0.lock().unwrap().failures = usize::MAX;
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[1]), Vec::new());
    let error = reconciled(&mut reports).error.unwrap();
    assert_eq!(error, "failed to program the fake: told to fail");
}

#[test]
fn what_somebody_else_changed_is_repaired() {
    let fake = Fake::default();
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[1]), Vec::new());
    reconciled(&mut reports);
    fake.0.lock().unwrap().held = DesiredState::default();
    let report = reconciled(&mut reports);
    assert_eq!(report.repaired, 1);
    assert_eq!(fake.0.lock().unwrap().held, *desired(&[1]));
}

fn log_of<const KIND: usize>(fake: &Fake<KIND>) -> Vec<String> {
    fake.0.lock().unwrap().log.clone()
}

const ON_SOCKET: Dataplanes = Dataplanes::One(DataplaneKind::Socket);
const ON_IPVS: Dataplanes = Dataplanes::One(DataplaneKind::Ipvs);

/// A node on the socket dataplane, on which `active` connections hang, and an IPVS that was not opened yet.
fn on_socket(active: u64) -> (Fake, Fake<IPVS>, Planes) {
    let (old, new) = (Fake::default(), Fake::default());
    let mut planes = planes_of(&old);
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().active = active;
    (old, new, planes)
}

fn opened<const KIND: usize>(fake: &Fake<KIND>) -> Vec<Box<dyn Plane>> {
    vec![Box::new(fake.clone())]
}

#[test]
fn a_dataplane_that_is_left_goes_only_after_its_last_connection() {
    let (old, new, mut planes) = on_socket(1);
    assert_eq!(planes.switch(ON_IPVS, opened(&new), &desired(&[1])).unwrap(), Moved::Done);
    assert_eq!((log_of(&new), log_of(&old)), (vec!["programmed".to_owned()], vec!["programmed".to_owned()]));
    for _ in 0..3 {
        planes.reconcile(&desired(&[1])).unwrap();
    }
    assert_eq!(log_of(&old), ["programmed", "quiesced"]);
    assert_eq!(planes.counters().unwrap()[&(vip(), backend(1))].active, 1, "both are counted");
    assert_eq!(planes.evict(&[all_of(1)]).unwrap().ended, 2, "both are searched");
    assert_eq!(planes.inspect().unwrap().facts[1].1, "socket, until its last connections end (1 now)");
    old.0.lock().unwrap().active = 0;
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&old).last().unwrap(), "removed");
    assert_eq!(planes.inspect().unwrap().facts, [("pins".to_owned(), "/x".to_owned())]);
}

#[test]
fn a_dataplane_that_is_left_can_be_returned_to() {
    let (old, new, mut planes) = on_socket(1);
    let lacking = planes.switch(ON_IPVS, Vec::new(), &desired(&[1])).unwrap();
    assert_eq!(lacking, Moved::Lacking { held: vec![DataplaneKind::Socket] }, "none was left yet");
    planes.switch(ON_IPVS, opened(&new), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(planes.switch(ON_SOCKET, Vec::new(), &desired(&[1, 2])).unwrap(), Moved::Done);
    for _ in 0..2 {
        planes.reconcile(&desired(&[1, 2])).unwrap();
    }
    assert_eq!(log_of(&old), ["programmed", "quiesced", "resumed", "programmed"]);
    assert_eq!(log_of(&new), ["programmed", "quiesced", "programmed", "removed"]);
}

#[test]
fn a_dataplane_that_cannot_be_returned_to_goes_on_being_left() {
    let (old, new, mut planes) = on_socket(1);
    planes.switch(ON_IPVS, opened(&new), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().failures = 1;
    planes.switch(ON_SOCKET, Vec::new(), &desired(&[1, 2])).unwrap_err();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&old), ["programmed", "quiesced", "resumed", "quiesced"]);
    assert_eq!(log_of(&new), ["programmed"]);
}

#[test]
fn a_dataplane_that_cannot_be_programmed_is_removed_and_the_one_before_stays() {
    let (old, new, mut planes) = on_socket(0);
    new.0.lock().unwrap().failures = 1;
    planes.switch(ON_IPVS, opened(&new), &desired(&[1])).unwrap_err();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!((log_of(&new), log_of(&old)), (vec!["removed".to_owned()], vec!["programmed".to_owned()]));
}

/// A node on the socket dataplane alone, to which the packet dataplane has come.
fn on_both() -> (Fake, Fake<PACKET>, Planes) {
    let (socket, packet) = (Fake::default(), Fake::<PACKET>::default());
    let mut planes = planes_of(&socket);
    planes.reconcile(&desired(&[1])).unwrap();
    planes.switch(Dataplanes::SocketAndPacket, opened(&packet), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    (socket, packet, planes)
}

#[test]
fn a_second_dataplane_joins_and_leaves_while_the_first_is_left_alone() {
    let (socket, packet, mut planes) = on_both();
    assert_eq!(log_of(&socket), ["programmed"]);
    assert_eq!(log_of(&packet), ["programmed"]);
    packet.0.lock().unwrap().active = 1;
    planes.switch(ON_SOCKET, Vec::new(), &desired(&[1])).unwrap();
    for _ in 0..3 {
        planes.reconcile(&desired(&[1])).unwrap();
    }
    assert_eq!(log_of(&packet), ["programmed", "quiesced"], "a connection hangs on it");
    packet.0.lock().unwrap().active = 0;
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&packet), ["programmed", "quiesced", "removed"]);
    assert_eq!(log_of(&socket), ["programmed"], "nothing befalls who stays");
}

#[test]
fn the_first_of_two_can_leave_and_come_back_beside_the_second() {
    let (socket, packet, mut planes) = on_both();
    socket.0.lock().unwrap().active = 1;
    planes.switch(DataplaneKind::Packet.into(), Vec::new(), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&socket), ["programmed", "quiesced"]);
    assert_eq!(planes.switch(Dataplanes::SocketAndPacket, Vec::new(), &desired(&[1])).unwrap(), Moved::Done);
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&socket), ["programmed", "quiesced", "resumed"]);
    assert_eq!(log_of(&packet), ["programmed"]);
    assert_eq!(planes.inspect().unwrap().facts[0].0, "socket pins", "the order is that of the kinds");
}

#[test]
fn both_are_programmed_counted_searched_and_looked_at() {
    let (socket, packet, mut planes) = on_both();
    planes.reconcile(&desired(&[1, 2])).unwrap();
    assert_eq!((log_of(&socket).len(), log_of(&packet).len()), (2, 2));
    socket.0.lock().unwrap().active = 3;
    packet.0.lock().unwrap().active = 4;
    let counted = planes.counters().unwrap()[&(vip(), backend(1))];
    assert_eq!(counted, Counters { active: 7, total: 7, refused: 0 });
    assert_eq!(planes.evict(&[all_of(1)]).unwrap().ended, 2);
    assert_eq!(planes.resync(), Duration::from_secs(3), "who is looked at most often sets the pace");
    packet.0.lock().unwrap().ineffective = Some("no route".to_owned());
    let seen = planes.inspect().unwrap();
    assert_eq!(seen.ineffective.as_deref(), Some("packet: no route"));
    assert_eq!(seen.warnings, ["socket: slow", "packet: slow"]);
    assert_eq!(
        seen.facts.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(),
        ["socket pins", "packet pins"]
    );
}

#[test]
fn one_that_fails_keeps_the_other_from_nothing() {
    let (socket, packet, mut planes) = on_both();
    socket.0.lock().unwrap().failures = 1;
    planes.reconcile(&desired(&[2])).unwrap_err();
    assert_eq!(packet.0.lock().unwrap().held, *desired(&[2]));
    socket.0.lock().unwrap().evictions_fail = true;
    planes.evict(&[all_of(1)]).unwrap_err();
    assert_eq!(log_of(&packet).last().unwrap(), "evicted 192.168.0.1:6443");
}

#[test]
fn while_one_in_use_does_not_work_none_is_told_to_retire() {
    let (old, new, mut planes) = on_socket(1);
    planes.switch(ON_IPVS, opened(&new), &desired(&[1])).unwrap();
    new.0.lock().unwrap().failures = 1;
    planes.reconcile(&desired(&[2])).unwrap_err();
    assert_eq!(log_of(&old), ["programmed"]);
}

#[test]
fn what_was_opened_for_a_partner_that_has_gone_waits_for_it() {
    let (ipvs, packet) = (Fake::<IPVS>::default(), Fake::<PACKET>::default());
    let mut planes = planes_of(&ipvs);
    let moved = planes.switch(Dataplanes::SocketAndPacket, opened(&packet), &desired(&[1])).unwrap();
    assert_eq!(moved, Moved::Lacking { held: vec![DataplaneKind::Ipvs, DataplaneKind::Packet] });
    let socket: Fake = Fake::default();
    let moved = planes.switch(Dataplanes::SocketAndPacket, opened(&socket), &desired(&[1])).unwrap();
    assert_eq!(moved, Moved::Done);
    for _ in 0..2 {
        planes.reconcile(&desired(&[1])).unwrap();
    }
    assert_eq!(log_of(&packet), ["resumed", "programmed"]);
    assert_eq!(log_of(&socket), ["programmed"]);
    assert_eq!(log_of(&ipvs), ["quiesced", "programmed", "removed"]);
}

#[test]
fn where_one_of_a_pair_cannot_be_programmed_neither_comes_in() {
    let (ipvs, packet) = (Fake::<IPVS>::default(), Fake::<PACKET>::default());
    let socket: Fake = Fake::default();
    let mut planes = planes_of(&ipvs);
    planes.reconcile(&desired(&[1])).unwrap();
    packet.0.lock().unwrap().failures = 1;
    let both: Vec<Box<dyn Plane>> = vec![Box::new(socket.clone()), Box::new(packet.clone())];
    planes.switch(Dataplanes::SocketAndPacket, both, &desired(&[1])).unwrap_err();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&socket), ["programmed", "removed"]);
    assert_eq!(log_of(&packet), ["removed"]);
    assert_eq!(log_of(&ipvs), ["programmed"]);
}

#[test]
fn a_move_is_reported_and_so_is_what_it_lacks() {
    let fake = Fake::default();
    let (reconciler, mut reports) = start(&fake);
    reconciler.order(desired(&[1]), Vec::new());
    reconciled(&mut reports);
    reconciler.switch(Dataplanes::SocketAndPacket, Vec::new());
    let Report::Lacking { held } = reports.blocking_recv().unwrap() else { panic!("packet is not there") };
    assert_eq!(held, [DataplaneKind::Socket]);
    reconciled(&mut reports);
    reconciler.switch(Dataplanes::SocketAndPacket, opened(&Fake::<PACKET>::default()));
    let Report::Switched(switched) = reports.blocking_recv().unwrap() else { panic!("all is there") };
    assert_eq!(switched, Ok(Dataplanes::SocketAndPacket));
}
