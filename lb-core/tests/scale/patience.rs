//! The shell's patience and the beats of its heart, as `lb-user/src/probe` has them.

use std::time::Duration;

use crate::world::Time;

/// An interval has so many slots (`probe/heartbeat.rs`).
const SLOTS_IN_INTERVAL: u32 = 8;

/// How long an answer may take before it is missed (`probe/patience.rs`).
#[derive(Clone, Copy)]
pub struct Patience {
    least: Duration,
    most: Duration,
    slowest: Duration,
}

impl Patience {
    pub fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, slowest: Duration::ZERO }
    }

    pub fn allowed(&self) -> Duration {
        (self.slowest * 2).clamp(self.least, self.most)
    }

    pub fn in_doubt(&self) -> Duration {
        self.allowed() / 3
    }

    pub fn took(&mut self, took: Duration) {
        self.slowest = took.max(self.slowest * 9 / 10);
    }
}

/// The last beginning of a slot that is no later than an interval after `now`, where slots begin at `phase`.
pub fn next_beat(phase: Duration, now: Time, interval: Duration) -> Time {
    let latest = now + interval;
    let slot = interval / SLOTS_IN_INTERVAL;
    latest - Duration::from_nanos(((latest - phase).as_nanos() % slot.as_nanos()) as u64)
}
