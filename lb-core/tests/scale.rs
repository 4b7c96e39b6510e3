//! What a big cluster does to its masters: thousands of agents' minds on one virtual clock. Nothing here sleeps, and each run
//! is like the last.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_core::{
    config::{self, Config, Overrides},
    control::{Adopted, Controller, Effect, Event, Now},
    model::BackendKey,
    probe::{Failure, Phase, ProbeOutcome},
    state::State,
};

const NODES: usize = 5_000;
const MASTERS: [&str; 3] = ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"];
/// What a healthy master takes for an answer, and a dead one's host for a refusal.
const ANSWER: Duration = Duration::from_millis(1);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Tick,
    Probed { master: usize, attempt: u64 },
    Lost { master: usize },
}

struct Cluster {
    epoch: Instant,
    nodes: Vec<Controller>,
    queue: BinaryHeap<Reverse<(Duration, usize, Due)>>,
    /// Where each node's next tick is in the queue; later ones are stale.
    ticks: Vec<Option<Duration>>,
    alive: [bool; 3],
    /// When each probe of each master began.
    probes: [Vec<Duration>; 3],
    /// When each node last changed who serves, and how many do.
    serving: Vec<(Duration, usize)>,
}

fn default_config() -> Arc<Config> {
    let backends = MASTERS.map(|master| format!("'{master}'")).join(", ");
    let text = format!("services: [{{name: apiserver, vip: '10.103.97.2:6443', backends: [{backends}]}}]");
    Arc::new(config::load(Some(("scale", &text)), &Overrides::default()).unwrap())
}

fn key(master: usize) -> BackendKey {
    BackendKey { service: "apiserver".parse().unwrap(), address: MASTERS[master].parse().unwrap() }
}

fn master(address: SocketAddr) -> usize {
    MASTERS.iter().position(|master| master.parse() == Ok(address)).unwrap()
}

impl Cluster {
    /// Every agent starts at the same instant, as after a power cut: the worst case.
    fn started_together() -> Self {
        let (epoch, config) = (Instant::now(), default_config());
        let now = Now { instant: epoch, wall: jiff::Timestamp::UNIX_EPOCH };
        let mut cluster = Self {
            epoch,
            nodes: Vec::with_capacity(NODES),
            queue: BinaryHeap::new(),
            ticks: vec![None; NODES],
            alive: [true; 3],
            probes: Default::default(),
            serving: vec![(Duration::ZERO, 0); NODES],
        };
        for node in 0..NODES {
            let (state, adopted) = (State::default(), Adopted::default());
            let (controller, effects) =
                Controller::new(config.clone(), &state, &adopted, BTreeSet::new(), now, node as u64);
            cluster.nodes.push(controller);
            cluster.perform(Duration::ZERO, node, effects);
        }
        cluster
    }

    fn run(&mut self, end: Duration) {
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, node, due))) = self.queue.pop() else { return };
            let event = match due {
                Due::Tick if self.ticks[node] != Some(at) => continue,
                Due::Tick => Event::Tick,
                Due::Probed { master, attempt } => {
                    let ready = ProbeOutcome::Ready { latency: ANSWER };
                    let refused = ProbeOutcome::Failed(Failure::Refused);
                    let outcome = if self.alive[master] { ready } else { refused };
                    Event::Probed { key: key(master), attempt, outcome }
                }
                Due::Lost { master } => {
                    Event::ConnectionLost { key: key(master), why: Failure::Closed(Phase::Idle) }
                }
            };
            let now = Now { instant: self.epoch + at, wall: jiff::Timestamp::UNIX_EPOCH + at };
            let effects = self.nodes[node].handle(now, event);
            self.perform(at, node, effects);
        }
    }

    fn perform(&mut self, at: Duration, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { key, attempt, .. } => {
                    let master = master(key.address);
                    self.probes[master].push(at);
                    self.queue.push(Reverse((at + ANSWER, node, Due::Probed { master, attempt })));
                }
                Effect::Program { desired, .. } => {
                    self.serving[node] = (at, desired.services[0].serving.len());
                }
                _ => {}
            }
        }
        let tick = self.nodes[node].deadline().map(|due| due.saturating_duration_since(self.epoch).max(at));
        if let Some(due) = tick
            && self.ticks[node] != tick
        {
            self.queue.push(Reverse((due, node, Due::Tick)));
        }
        self.ticks[node] = tick;
    }

    /// The process dies; every kept connection is reset within a millisecond.
    fn kill(&mut self, victim: usize, at: Duration) {
        self.alive[victim] = false;
        for node in 0..NODES {
            let later = Duration::from_micros(node as u64 % 1000);
            self.queue.push(Reverse((at + later, node, Due::Lost { master: victim })));
        }
    }

    /// Probes of a master that began in each tenth of a second from `begin` on.
    fn tenths(&self, master: usize, begin: Duration, tenths: usize) -> Vec<usize> {
        let mut counts = vec![0; tenths];
        for at in self.probes[master].iter().filter(|at| **at >= begin) {
            let tenth = (*at - begin).as_millis() as usize / 100;
            if let Some(count) = counts.get_mut(tenth) {
                *count += 1;
            }
        }
        counts
    }
}

fn most(counts: &[usize]) -> usize {
    counts.iter().copied().max().unwrap()
}

fn mean(counts: &[usize]) -> usize {
    counts.iter().sum::<usize>() / counts.len()
}

#[test]
fn agents_that_start_together_do_not_probe_together() {
    let mut cluster = Cluster::started_together();
    cluster.run(Duration::from_secs(30));
    for begin in [2, 10, 20] {
        let counts = cluster.tenths(0, Duration::from_secs(begin), 80);
        let (mean, most) = (mean(&counts), most(&counts));
        println!(
            "from second {begin} on: {mean} probes of each master in a tenth of a second, {most} at most"
        );
        assert!((230..300).contains(&mean), "one for each node and interval: {mean}");
        assert!(most < 2 * mean, "{most} in one tenth of a second, {mean} on average");
    }
}

#[test]
fn a_death_is_known_everywhere_at_once_and_costs_the_dead_one_few_probes_and_the_others_none() {
    let mut cluster = Cluster::started_together();
    let death = Duration::from_secs(30);
    cluster.run(death);
    let before = [1, 2].map(|other| mean(&cluster.tenths(other, death - Duration::from_secs(8), 80)));
    cluster.kill(0, death);
    cluster.run(death + Duration::from_secs(10));
    let known: Vec<_> = cluster.serving.iter().map(|(at, _)| *at - death).collect();
    let last = known.iter().max().unwrap();
    assert!(cluster.serving.iter().all(|(_, serving)| *serving == 2), "every node has left it");
    assert!(*last < Duration::from_millis(100), "the last node has left it after {last:?}");
    let first_second: usize = cluster.tenths(0, death, 10).iter().sum();
    let later = mean(&cluster.tenths(0, death + Duration::from_secs(2), 80));
    println!(
        "left by the last node after {last:?}; probes of the dead one: {first_second} in the first second, then {later} \
         in a tenth"
    );
    assert!(first_second <= 4 * NODES, "{first_second} probes in the first second");
    assert!(later < 300, "as often as before: {later}");
    for (other, before) in [1, 2].into_iter().zip(before) {
        let most = most(&cluster.tenths(other, death, 80));
        println!("probes of master {other}: {before} in a tenth before, {most} at most after");
        assert!(most < 2 * before, "the others are not probed more: {most}, {before} before");
    }
}
