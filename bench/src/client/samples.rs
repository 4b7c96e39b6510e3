//! How long operations took.

use std::time::Duration;

use crate::statistics;

/// More than a slice has; so that no memory is asked for in the middle of it.
const ROOM: usize = 1 << 17;

/// The operations that counted, and how many there were in all.
pub(super) struct Samples {
    nanos: Vec<u32>,
    all: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { nanos: Vec::with_capacity(ROOM), all: 0 }
    }
}

impl Samples {
    pub(super) fn record(&mut self, counts: bool, took: Duration) {
        self.all += 1;
        if counts {
            self.nanos.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
        self.all += other.all;
    }

    pub(super) fn counted(&self) -> u64 {
        self.nanos.len() as u64
    }

    pub(super) fn all(&self) -> u64 {
        self.all
    }

    pub(super) fn percentile(&self, percent: f64) -> Option<u32> {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        sorted.sort_unstable();
        statistics::percentile(&sorted, percent)
    }
}
