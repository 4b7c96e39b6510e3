//! A death, and the figures that people ask for: who connects to whom, how fast, and what it costs.

use std::{env, ops::Range, time::Duration};

use crate::{
    NODES,
    clients::PER_NODE,
    cluster::{Chance, Cluster},
    world::{Manner, Time, secs},
};

/// The master that dies.
pub const VICTIM: usize = 0;
/// Those that live.
pub const SURVIVORS: [usize; 2] = [1, 2];
/// Nodes have spread by then.
const WARM: f64 = 3.0;
/// What handshakes are worked off with.
pub const CORES: f64 = 4.0;

pub const HEADS: [&str; 9] = [
    "fault",
    "policy, clients",
    "ended",
    "in 10 ms",
    "in 100 ms",
    "in 1 s",
    "without, median / all",
    "CPU of the worst second",
    "longest wait",
];

/// What befalls a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    PowerLost,
    Stopped,
}

/// A cluster in which a master died.
pub struct Storm {
    pub cluster: Cluster,
    pub death: Time,
    pub fault: Fault,
    chance: Chance,
    /// Connections on each master before, of each cohort.
    pub before: Vec<[usize; 3]>,
}

impl Storm {
    /// Lets a master die, and goes on for so many seconds.
    pub fn after(fault: Fault, chance: Chance, seconds: f64) -> Self {
        let mut cluster = Cluster::started_together(NODES, chance, "");
        let death = secs(WARM);
        cluster.warm_up(death);
        let before = cluster.cohorts.iter().map(|cohort| cohort.shares()).collect();
        match fault {
            Fault::Killed => cluster.kill(VICTIM),
            Fault::PowerLost => cluster.becomes(VICTIM, Manner::Unreachable),
            Fault::Stopped => cluster.becomes(VICTIM, Manner::Hangs),
        }
        cluster.run(death + secs(seconds));
        Self { cluster, death, fault, chance, before }
    }

    /// From the death on.
    pub fn span(&self) -> Range<Time> {
        self.death..self.cluster.world.now
    }

    /// What happened to a cohort's clients, for a table with [`HEADS`].
    pub fn row(&self, number: usize) -> [String; 9] {
        let cohort = &self.cluster.cohorts[number];
        let most = |millis| self.cluster.most(number, millis, self.span()).to_string();
        let fault = match (self.fault, self.chance) {
            (fault, Chance::Own) => fault.name().to_owned(),
            (fault, Chance::Same) => format!("{}, no jitter", fault.name()),
        };
        [
            fault,
            cohort.name().to_owned(),
            self.before[number][VICTIM].to_string(),
            most(10),
            most(100),
            most(1000),
            format!("{:.2} / {:.2} s", self.outage(number, 0.5), self.outage(number, 1.0)),
            format!(
                "{:.1} s",
                f64::from(self.cluster.most(number, 1000, self.span())) * handshake_cost() / 1e6
            ),
            format!("{:.0} ms", self.longest_wait(number)),
        ]
    }

    /// How long the clients of a cohort were without a connection: this part of them no longer, in seconds.
    pub fn outage(&self, number: usize, part: f64) -> f64 {
        let mut outages = self.cluster.cohorts[number].outages.clone();
        outages.sort_unstable();
        let at = (outages.len().saturating_sub(1) as f64 * part) as usize;
        outages.get(at).map_or(0.0, Duration::as_secs_f64)
    }

    /// For the one that had to wait longest for its handshake, in milliseconds.
    fn longest_wait(&self, number: usize) -> f64 {
        let wait = |master| {
            let handshakes = self.cluster.handshakes(number, master);
            handshakes.longest_wait(handshake_cost(), CORES, self.span())
        };
        SURVIVORS.into_iter().map(wait).fold(0.0, f64::max)
    }

    /// Asserts that every client came back to a survivor, at the price of one handshake, and that the survivors share them.
    pub fn assert_all_are_back(&self) {
        for (number, cohort) in self.cluster.cohorts.iter().enumerate() {
            let [dead, shares @ ..] = cohort.shares();
            assert_eq!(dead, 0, "{}: nobody is on the dead one", cohort.name());
            let all: usize = shares.iter().sum();
            assert_eq!(all, NODES * PER_NODE, "{}: everybody is back", cohort.name());
            let handshakes: u32 =
                SURVIVORS.iter().map(|master| cohort.handshakes[*master].total(self.span())).sum();
            assert_eq!(
                handshakes as usize,
                self.before[number][VICTIM],
                "{}: nobody else moved",
                cohort.name()
            );
            let most = shares.into_iter().max().unwrap();
            assert!(most * 100 < all * 53, "{}: {shares:?}: half each, but for chance", cohort.name());
        }
    }

    /// When the first and the last node took the dead one out.
    pub fn left(&self) -> (Duration, Duration) {
        assert!(self.cluster.serving().all(|serving| serving == 2), "every node has left it");
        self.first_and_last(self.cluster.changed())
    }

    /// When the first and the last node found it dead.
    pub fn found_dead(&self) -> (Duration, Duration) {
        self.first_and_last(self.cluster.verdicts())
    }

    fn first_and_last(&self, times: impl Iterator<Item = Time>) -> (Duration, Duration) {
        let after: Vec<_> = times.map(|at| at - self.death).collect();
        (after.iter().min().copied().unwrap(), after.iter().max().copied().unwrap())
    }
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::PowerLost => "power lost",
            Self::Stopped => "stopped",
        }
    }
}

/// What one TLS handshake costs a master, in microseconds: `SCALE_HANDSHAKE_US`, or a guess.
pub fn handshake_cost() -> f64 {
    env::var("SCALE_HANDSHAKE_US").map_or(1000.0, |micros| micros.parse().unwrap())
}

/// What the tables assume.
pub fn assumed() -> String {
    format!("{NODES} nodes, {} µs for a handshake, {CORES} cores", handshake_cost())
}
