mod denial;
mod discover;
mod drain;
mod rebalance;
mod silence;
mod slow_start;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    config::{self, Overrides},
    model::Admin,
    operator::{OperatorError, OperatorRequest},
    probe::{Failure, Phase},
    view::BackendView,
};

const READY: ProbeOutcome = ProbeOutcome::Ready { latency: Duration::from_millis(1) };
const REFUSED: ProbeOutcome = ProbeOutcome::Failed(Failure::Refused);

fn config(backends: &[&str]) -> Arc<Config> {
    let list: Vec<_> = backends.iter().map(|b| format!("'{b}'")).collect();
    let text = format!(
        "services: [{{name: apiserver, vip: '10.0.0.100:6443', hostname: a.local, backends: [{}]}}]",
        list.join(", ")
    );
    Arc::new(config::load(Some(("test", &text)), &Overrides::default()).unwrap())
}

const THREE: [&str; 3] = ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"];

fn key(address: &str) -> BackendKey {
    BackendKey { service: "apiserver".parse().unwrap(), address: address.parse().unwrap() }
}

fn pair(address: &str) -> Pair {
    ("10.0.0.100:6443".parse().unwrap(), address.parse().unwrap())
}

/// An agent on a virtual clock. Probes are answered by hand.
struct Bench {
    controller: Controller,
    now: Now,
    under_way: BTreeMap<BackendKey, u64>,
    programmed: Arc<DesiredState>,
    /// Whose connections were all ended.
    evicted: Vec<Pair>,
    /// Whose new connections were.
    freed: Vec<(Pair, Instant)>,
    /// Of whom one connection was ended for the sake of balance, and when.
    thinned: Vec<(Instant, Pair)>,
    kept: State,
    stopped: Vec<BackendKey>,
    answer: Option<Result<BackendView, OperatorError>>,
}

impl Bench {
    fn new(backends: &[&str]) -> Self {
        Self::resume(config(backends), &State::default(), &Adopted::default())
    }

    fn resume(config: Arc<Config>, state: &State, adopted: &Adopted) -> Self {
        let now = Now { instant: Instant::now(), wall: jiff::Timestamp::UNIX_EPOCH };
        let (controller, effects) = Controller::new(config, state, adopted, BTreeSet::new(), now, 1);
        let mut bench = Self {
            controller,
            now,
            under_way: BTreeMap::new(),
            programmed: Arc::default(),
            evicted: Vec::new(),
            freed: Vec::new(),
            thinned: Vec::new(),
            kept: State::default(),
            stopped: Vec::new(),
            answer: None,
        };
        bench.perform(effects);
        bench
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { key, attempt, .. } => _ = self.under_way.insert(key, attempt),
                Effect::Program { desired, evict } => {
                    self.programmed = desired;
                    for Eviction { pair, which } in evict {
                        match which {
                            Which::All => self.evicted.push(pair),
                            Which::BegunSince(since) => self.freed.push((pair, since)),
                            Which::Elders { one: true, .. } => self.thinned.push((self.now.instant, pair)),
                            Which::Elders { one: false, .. } => {}
                        }
                    }
                }
                Effect::Persist(state) => self.kept = state,
                Effect::StopProber(key) => self.stopped.push(key),
                Effect::Answer { result, .. } => self.answer = Some(*result),
                Effect::StartProber(_) | Effect::Hosts(_) | Effect::Announce(_) => {}
            }
        }
    }

    fn event(&mut self, event: Event) {
        let effects = self.controller.handle(self.now, event);
        self.perform(effects);
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall += time;
        self.event(Event::Tick);
    }

    /// Answers probes of a backend until `times` of them were answered.
    fn answer(&mut self, address: &str, outcome: &ProbeOutcome, times: usize) {
        let key = key(address);
        for _ in 0..times {
            for _ in 0..1000 {
                if self.under_way.contains_key(&key) {
                    break;
                }
                self.pass(Duration::from_millis(10));
            }
            let attempt = self.under_way.remove(&key).expect("a probe within ten seconds");
            self.event(Event::Probed { key: key.clone(), attempt, outcome: outcome.clone() });
        }
    }

    fn operate(&mut self, request: OperatorRequest) -> Result<BackendView, OperatorError> {
        self.event(Event::Operator { request, ticket: 1 });
        self.answer.take().expect("an answer")
    }

    fn set_admin(&mut self, address: &str, admin: Admin) -> Result<BackendView, OperatorError> {
        self.operate(OperatorRequest::SetAdmin { service: None, address: address.parse().unwrap(), admin })
    }

    fn serving(&self) -> Vec<String> {
        self.programmed.services[0].serving.iter().map(|b| b.address.to_string()).collect()
    }

    fn all_up(backends: &[&str]) -> Self {
        let mut bench = Self::new(backends);
        backends.iter().for_each(|backend| bench.answer(backend, &READY, 1));
        assert_eq!(bench.serving(), backends);
        bench
    }
}

#[test]
fn before_the_first_verdict_nobody_serves() {
    let bench = Bench::new(&THREE);
    assert!(bench.serving().is_empty());
    assert_eq!(bench.under_way.len(), 3, "all are asked at once");
}

#[test]
fn one_master_out_of_three_gets_everything() {
    let mut bench = Bench::new(&THREE);
    bench.answer(THREE[0], &REFUSED, 1);
    bench.answer(THREE[1], &READY, 1);
    bench.answer(THREE[2], &REFUSED, 1);
    assert_eq!(bench.serving(), [THREE[1]]);
    assert!(bench.controller.all_services_up() && bench.controller.is_settled());
}

#[test]
fn backends_that_are_up_are_probed_together() {
    let mut bench = Bench::all_up(&THREE);
    for _ in 0..5 {
        let due = bench.controller.deadline().unwrap();
        bench.pass(due - bench.now.instant);
        assert_eq!(bench.under_way.len(), 3);
        THREE.iter().for_each(|backend| bench.answer(backend, &READY, 1));
    }
}

#[test]
fn a_dead_backend_leaves_and_its_connections_are_ended_once() {
    let mut bench = Bench::all_up(&THREE);
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(bench.serving(), THREE[1..]);
    assert_eq!(bench.evicted, [pair(THREE[0])]);
    bench.answer(THREE[0], &REFUSED, 5);
    assert_eq!(bench.evicted, [pair(THREE[0])]);
}

#[test]
fn a_backend_that_returned_and_died_again_is_evicted_again() {
    let mut bench = Bench::all_up(&THREE);
    bench.answer(THREE[0], &REFUSED, 3);
    bench.answer(THREE[0], &READY, 2);
    assert_eq!(bench.serving(), THREE);
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(bench.evicted.len(), 2);
}

#[test]
fn after_an_outage_of_all_the_first_that_is_up_takes_no_connections_from_those_that_answer_too() {
    let mut bench = Bench::all_up(&THREE);
    THREE.iter().for_each(|backend| bench.answer(backend, &REFUSED, 3));
    assert_eq!(bench.evicted.len(), 3);
    THREE.iter().for_each(|backend| bench.answer(backend, &READY, 1));
    assert_eq!(bench.serving(), THREE, "none is up yet, and all answer: clients come back to them");
    bench.answer(THREE[2], &READY, 1);
    assert_eq!(bench.serving(), [THREE[2]]);
    assert_eq!(bench.evicted.len(), 3, "what hangs on the others is well");
    bench.answer(THREE[0], &REFUSED, 1);
    assert_eq!(bench.evicted[3..], [pair(THREE[0])], "until they fail again");
}

#[test]
fn a_backend_that_is_not_ready_keeps_its_connections() {
    let mut bench = Bench::all_up(&THREE);
    let not_ready = ProbeOutcome::NotReady { latency: Duration::from_millis(1), status: 500 };
    bench.answer(THREE[0], &not_ready, 3);
    assert_eq!(bench.serving(), THREE[1..]);
    assert!(bench.evicted.is_empty());
}

#[test]
fn what_the_kernel_served_keeps_its_place_until_the_first_verdict() {
    let adopted = Adopted { serving: [pair(THREE[0]), pair(THREE[1])].into(), active: BTreeMap::new() };
    let mut bench = Bench::resume(config(&THREE), &State::default(), &adopted);
    assert_eq!(bench.serving(), THREE[..2]);
    bench.answer(THREE[2], &READY, 1);
    assert_eq!(bench.serving(), THREE);
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(bench.serving(), THREE[1..]);
}

#[test]
fn draining_moves_new_connections_and_disabling_ends_the_old_ones() {
    let mut bench = Bench::all_up(&THREE);
    let view = bench.set_admin(THREE[0], Admin::Draining).unwrap();
    assert_eq!((view.admin, view.serving), (Admin::Draining, false));
    assert_eq!(bench.serving(), THREE[1..]);
    assert!(bench.evicted.is_empty());
    bench.set_admin(THREE[0], Admin::Disabled).unwrap();
    assert_eq!(bench.evicted, [pair(THREE[0])]);
    bench.set_admin(THREE[0], Admin::Active).unwrap();
    assert_eq!(bench.serving(), THREE);
}

#[test]
fn intent_outlives_the_agent() {
    let mut bench = Bench::all_up(&THREE);
    bench.set_admin(THREE[0], Admin::Draining).unwrap();
    let added = "10.0.0.9:6443";
    let request = OperatorRequest::Add { service: None, address: added.parse().unwrap(), weight: 1 };
    bench.operate(request).unwrap();
    let mut next = Bench::resume(config(&THREE), &bench.kept, &Adopted::default());
    for backend in [THREE[0], THREE[1], THREE[2], added] {
        next.answer(backend, &READY, 1);
    }
    assert_eq!(next.serving(), [THREE[1], THREE[2], added]);
}

#[test]
fn a_backend_that_left_is_watched_until_its_last_connection_is_gone() {
    let mut bench = Bench::all_up(&THREE);
    bench.event(Event::Reloaded(config(&THREE[1..])));
    assert_eq!(bench.serving(), THREE[1..]);
    assert!(bench.evicted.is_empty(), "its connections go on");
    bench.event(Event::Counted([(pair(THREE[0]), 2)].into()));
    assert!(bench.stopped.is_empty());
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(bench.evicted, [pair(THREE[0])], "and are ended when it dies");
    bench.event(Event::Counted([(pair(THREE[0]), 0)].into()));
    assert_eq!(bench.stopped, [key(THREE[0])]);
    assert_eq!(bench.programmed.services[0].members.len(), 2);
}

#[test]
fn connections_to_a_backend_that_the_config_forgot_are_watched_by_the_next_agent() {
    let adopted = Adopted { serving: BTreeSet::new(), active: [(pair(THREE[0]), 3)].into() };
    let bench = Bench::resume(config(&THREE[1..]), &State::default(), &adopted);
    assert!(bench.under_way.contains_key(&key(THREE[0])));
    assert_eq!(
        bench.controller.services(bench.now, crate::model::DataplaneKind::Socket.into())[0].backends.len(),
        2
    );
}

#[test]
fn a_backend_removed_at_run_time_stays_out_until_the_config_changes_it() {
    let mut bench = Bench::all_up(&THREE);
    let address = THREE[0].parse().unwrap();
    bench.operate(OperatorRequest::Remove { service: None, address }).unwrap();
    assert_eq!(bench.serving(), THREE[1..]);
    let next = Bench::resume(config(&THREE), &bench.kept, &Adopted::default());
    assert!(!next.under_way.contains_key(&key(THREE[0])));
    bench.operate(OperatorRequest::Add { service: None, address, weight: 1 }).unwrap();
    assert_eq!(bench.kept.get(&key(THREE[0])).runtime, None, "back to what the config says");
}

#[test]
fn a_wish_that_cannot_be_granted_changes_nothing() {
    let mut bench = Bench::all_up(&THREE);
    let add =
        |address: &str| OperatorRequest::Add { service: None, address: address.parse().unwrap(), weight: 1 };
    let cases = [
        (add(THREE[0]), "alreadyThere"),
        (add("[fd00::1]:6443"), "familyMismatch"),
        (add("10.0.0.100:6443"), "backendIsVip"),
        (add("10.0.0.7:0"), "zeroPort"),
        (OperatorRequest::Remove { service: None, address: "10.0.0.7:1".parse().unwrap() }, "unknownBackend"),
        (
            OperatorRequest::Remove {
                service: Some("other".parse().unwrap()),
                address: THREE[0].parse().unwrap(),
            },
            "unknownService",
        ),
    ];
    let before = (bench.programmed.clone(), bench.kept.clone());
    for (request, code) in cases {
        assert_eq!(bench.operate(request).unwrap_err().code(), code);
    }
    assert_eq!((bench.programmed.clone(), bench.kept.clone()), before);
}

#[test]
fn a_service_that_left_takes_its_backends_along() {
    let mut bench = Bench::all_up(&THREE);
    let text = "services: [{name: other, vip: '10.0.0.101:1', backends: ['10.0.0.1:6443']}]";
    let other = config::load(Some(("test", text)), &Overrides::default()).unwrap();
    bench.event(Event::Reloaded(Arc::new(other)));
    assert_eq!(bench.stopped.len(), 3);
    assert_eq!(bench.programmed.services.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Answer(usize, ProbeOutcome),
    Lost(usize),
    Admin(usize, Admin),
    Weight(usize, u16),
    Remove(usize),
    Add(usize),
    Reload(usize),
    Counted(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(READY),
        Just(REFUSED),
        Just(ProbeOutcome::Failed(Failure::Timeout(Phase::Request))),
        Just(ProbeOutcome::NotReady { latency: Duration::from_millis(1), status: 500 }),
        Just(ProbeOutcome::Inconclusive { reason: "no file descriptor".to_owned() }),
    ];
    let admin = prop::sample::select(Admin::ALL);
    prop_oneof![
        1 => (0_u64..3000).prop_map(Step::Pass),
        6 => (0_usize..3, outcome).prop_map(|(n, o)| Step::Answer(n, o)),
        1 => (0_usize..3).prop_map(Step::Lost),
        1 => (0_usize..3, admin).prop_map(|(n, a)| Step::Admin(n, a)),
        1 => (0_usize..3, 0_u16..3).prop_map(|(n, w)| Step::Weight(n, w)),
        1 => (0_usize..3).prop_map(Step::Remove),
        1 => (0_usize..3).prop_map(Step::Add),
        1 => (1_usize..4).prop_map(Step::Reload),
        1 => (0_u64..2).prop_map(Step::Counted),
    ]
}

impl Bench {
    fn take(&mut self, step: Step) {
        let address = |n: usize| THREE[n].parse().unwrap();
        match step {
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Step::Answer(n, outcome) => {
                let key = key(THREE[n]);
                if let Some(attempt) = self.under_way.remove(&key) {
                    self.event(Event::Probed { key, attempt, outcome });
                }
            }
            Step::Lost(n) => {
                self.event(Event::ConnectionLost { key: key(THREE[n]), why: Failure::Closed(Phase::Idle) });
            }
            Step::Admin(n, admin) => _ = self.set_admin(THREE[n], admin),
            Step::Weight(n, weight) => {
                let address = address(n);
                _ = self.operate(OperatorRequest::SetWeight { service: None, address, weight });
            }
            Step::Remove(n) => {
                _ = self.operate(OperatorRequest::Remove { service: None, address: address(n) });
            }
            Step::Add(n) => {
                _ = self.operate(OperatorRequest::Add { service: None, address: address(n), weight: 1 });
            }
            Step::Reload(n) => self.event(Event::Reloaded(config(&THREE[..n]))),
            Step::Counted(active) => {
                self.event(Event::Counted(THREE.iter().map(|b| (pair(b), active)).collect()));
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_kernel_is_told_sound_things(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new(&THREE);
        let mut ready = BTreeSet::new();
        for step in steps {
            if let Step::Answer(n, READY) = step {
                ready.insert(key(THREE[n]));
            }
            let evicted = bench.evicted.len();
            bench.take(step);
            let service = &bench.programmed.services[0];
            for backend in &service.serving {
                prop_assert!(backend.weight > 0);
                prop_assert!(service.members.contains(&backend.address));
                let key = BackendKey { service: service.name.clone(), address: backend.address };
                prop_assert_eq!(bench.kept.get(&key).admin, Admin::Active);
                prop_assert!(ready.contains(&key), "a backend never seen healthy gets no traffic");
            }
            for (_, address) in &bench.evicted[evicted..] {
                prop_assert!(!service.serving.iter().any(|b| b.address == *address));
            }
            prop_assert!(bench.controller.transitions().count() <= MAX_TRANSITIONS);
            let deadline = bench.controller.deadline();
            prop_assert!(deadline.is_none_or(|at| at >= bench.now.instant), "nothing is overdue");
        }
    }
}
