use std::sync::Mutex;

use lb_core::desired::{DesiredBackend, DesiredService};

use super::*;
use crate::dataplane::{Dataplane, Unsupported};

/// A dataplane in memory that writes down what is asked of it, and fails when told to.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    held: DesiredState,
    log: Vec<String>,
    failures: usize,
    active: u64,
}

impl Dataplane for Fake {
    const KIND: DataplaneKind = DataplaneKind::Socket;

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
        self.0.lock().unwrap().log.push(format!("evicted {}", evictions[0].pair.1));
        Ok(Evicted { ended: evictions.len(), failed: 0 })
    }
    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        let active = self.0.lock().unwrap().active;
        Ok(BTreeMap::from([((vip(), backend(1)), Counters { active, total: active, refused: 0 })]))
    }
    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        Ok(Inspection { ineffective: None, warnings: Vec::new(), facts: Vec::new() })
    }
    fn settle(&mut self) -> Result<(), DataplaneError> {
        Ok(())
    }
    fn resync(&self) -> Duration {
        Duration::from_secs(5)
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
        severed: Default::default(),
    };
    Arc::new(DesiredState { services: vec![service] })
}

fn start(fake: &Fake) -> (Reconciler, mpsc::Receiver<Report>) {
    let (tx, rx) = mpsc::channel(16);
    (Reconciler::start(Planes::new(Box::new(fake.clone()), Vec::new()), tx).unwrap(), rx)
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

fn log_of(fake: &Fake) -> Vec<String> {
    fake.0.lock().unwrap().log.clone()
}

#[test]
fn a_dataplane_that_is_left_goes_only_after_its_last_connection() {
    let (old, new) = (Fake::default(), Fake::default());
    let mut planes = Planes::new(Box::new(old.clone()), Vec::new());
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().active = 1;
    planes.switch(Box::new(new.clone()), &desired(&[1])).unwrap();
    assert_eq!((log_of(&new), log_of(&old)), (vec!["programmed".to_owned()], vec!["programmed".to_owned()]));
    for _ in 0..3 {
        planes.reconcile(&desired(&[1])).unwrap();
    }
    assert_eq!(log_of(&old), ["programmed", "quiesced"]);
    assert_eq!(planes.counters().unwrap()[&(vip(), backend(1))].active, 1, "both are counted");
    assert_eq!(planes.evict(&[all_of(1)]).unwrap().ended, 2, "both are searched");
    old.0.lock().unwrap().active = 0;
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&old).last().unwrap(), "removed");
    assert!(planes.inspect().unwrap().facts.is_empty());
}

#[test]
fn a_dataplane_that_is_left_can_be_returned_to() {
    let (old, new) = (Fake::default(), Fake::default());
    let mut planes = Planes::new(Box::new(old.clone()), Vec::new());
    assert!(planes.switch_back(DataplaneKind::Socket, &desired(&[1])).is_none(), "none was left yet");
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().active = 1;
    planes.switch(Box::new(new.clone()), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    planes.switch_back(DataplaneKind::Socket, &desired(&[1, 2])).unwrap().unwrap();
    for _ in 0..2 {
        planes.reconcile(&desired(&[1, 2])).unwrap();
    }
    assert_eq!(log_of(&old), ["programmed", "quiesced", "resumed", "programmed"]);
    assert_eq!(log_of(&new), ["programmed", "quiesced", "programmed", "removed"]);
}

#[test]
fn a_dataplane_that_cannot_be_returned_to_goes_on_being_left() {
    let (old, new) = (Fake::default(), Fake::default());
    let mut planes = Planes::new(Box::new(old.clone()), Vec::new());
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().active = 1;
    planes.switch(Box::new(new.clone()), &desired(&[1])).unwrap();
    planes.reconcile(&desired(&[1])).unwrap();
    old.0.lock().unwrap().failures = 1;
    planes.switch_back(DataplaneKind::Socket, &desired(&[1, 2])).unwrap().unwrap_err();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!(log_of(&old), ["programmed", "quiesced", "resumed", "quiesced"]);
    assert_eq!(log_of(&new), ["programmed"]);
}

#[test]
fn a_dataplane_that_cannot_be_programmed_is_removed_and_the_one_before_stays() {
    let (old, new) = (Fake::default(), Fake::default());
    let mut planes = Planes::new(Box::new(old.clone()), Vec::new());
    new.0.lock().unwrap().failures = 1;
    planes.switch(Box::new(new.clone()), &desired(&[1])).unwrap_err();
    planes.reconcile(&desired(&[1])).unwrap();
    assert_eq!((log_of(&new), log_of(&old)), (vec!["removed".to_owned()], vec!["programmed".to_owned()]));
}
