//! The clock, what is due, and how the masters behave.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use lb_core::probe::ProbeOutcome;

use crate::{cluster::Order, tally::Traffic};

/// From a question to its answer, where nothing is slow; and to a dead one's host's refusal.
pub const ROUND_TRIP: Duration = Duration::from_millis(1);

/// Time since the clock began.
pub type Time = Duration;

/// Seconds, for tests.
pub fn secs(secs: f64) -> Time {
    Duration::from_secs_f64(secs)
}

/// How a master behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Serves,
    /// The process is gone: its host resets and refuses.
    Refuses,
    /// The process stands still: its host acknowledges and accepts.
    Hangs,
    /// Not a packet comes through.
    Unreachable,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Due {
    /// A deadline of its controller.
    Tick,
    /// A heartbeat's alarm.
    Beat { master: usize },
    /// The answer to a PING that came late.
    Pong { master: usize },
    /// A probe comes to its end.
    Over { master: usize, attempt: u64, outcome: Box<ProbeOutcome> },
    /// A probe's answer is missed.
    Missed { master: usize, attempt: u64 },
    /// A look at a silent master.
    Look { master: usize },
    /// The kept connection was reset.
    Lost { master: usize },
    /// What the controller ordered is in the kernel.
    InForce(Box<Order>),
    /// A client tries to connect.
    Dial { cohort: usize, client: usize, turn: u32 },
}

struct Entry {
    /// Nanoseconds above, and a number below: of those due at the same time the one that was said first comes first.
    order: u128,
    node: usize,
    due: Due,
}

/// Everything that all nodes share.
pub struct World {
    epoch: Instant,
    pub now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    pub masters: [Manner; 3],
    pub traffic: Traffic,
    pub random: fastrand::Rng,
}

impl World {
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            number: 0,
            masters: [Manner::Serves; 3],
            traffic: Traffic::default(),
            random: fastrand::Rng::with_seed(7),
        }
    }

    pub fn due(&mut self, at: Time, node: usize, due: Due) {
        self.number += 1;
        let order = at.as_nanos() << 64 | u128::from(self.number);
        self.queue.push(Reverse(Entry { order, node, due }));
    }

    /// The next that is due until `end`; the clock goes there.
    pub fn next(&mut self, end: Time) -> Option<(usize, Due)> {
        if self.queue.peek().is_none_or(|Reverse(entry)| entry.at() > end) {
            self.now = end;
            return None;
        }
        let Reverse(entry) = self.queue.pop()?;
        self.now = entry.at();
        Some((entry.node, entry.due))
    }

    pub fn instant(&self, at: Time) -> Instant {
        self.epoch + at
    }

    pub fn since_epoch(&self, instant: Instant) -> Time {
        instant.saturating_duration_since(self.epoch)
    }
}

impl Entry {
    fn at(&self) -> Time {
        Duration::from_nanos((self.order >> 64) as u64)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
