//! What arrives at each master, and when.

use std::ops::Range;

use crate::world::Time;

/// What arrived, counted in steps of 10 ms.
#[derive(Clone, Debug, Default)]
pub struct Tally(Vec<u32>);

/// From one count to the next, in milliseconds.
const STEP: usize = 10;

/// What agents send.
#[derive(Default)]
pub struct Traffic {
    /// PINGs on kept connections.
    pub pings: [Tally; 3],
    /// Requests for `/readyz`.
    pub readyz: [Tally; 3],
    /// TLS handshakes.
    pub handshakes: [Tally; 3],
    /// Connections that were begun and not answered, or refused.
    pub attempts: [Tally; 3],
    /// Knocks at the port of a silent master.
    pub knocks: [Tally; 3],
}

impl Tally {
    pub fn add(&mut self, at: Time) {
        let step = at.as_millis() as usize / STEP;
        if self.0.len() <= step {
            self.0.resize(step + 1, 0);
        }
        self.0[step] += 1;
    }

    /// The counts of a span, one for each 10 ms.
    pub fn steps(&self, span: Range<Time>) -> Vec<u32> {
        let [begin, end] = [span.start, span.end].map(|at| at.as_millis() as usize / STEP);
        (begin..end).map(|step| self.0.get(step).copied().unwrap_or(0)).collect()
    }

    pub fn total(&self, span: Range<Time>) -> u32 {
        self.steps(span).iter().sum()
    }

    /// How many there are in a second of the span, on average.
    pub fn rate(&self, span: Range<Time>) -> f64 {
        let seconds = (span.end - span.start).as_secs_f64();
        f64::from(self.total(span)) / seconds
    }

    /// How many there are in windows of so many milliseconds, one beginning every 10 ms, from few to many.
    pub fn windows(&self, millis: usize, span: Range<Time>) -> Vec<u32> {
        let steps = self.steps(span);
        let mut windows: Vec<u32> = steps.windows(millis / STEP).map(|window| window.iter().sum()).collect();
        windows.sort_unstable();
        windows
    }

    /// The most in a window of so many milliseconds.
    pub fn most(&self, millis: usize, span: Range<Time>) -> u32 {
        self.windows(millis, span).last().copied().unwrap_or(0)
    }

    pub fn and(&self, other: &Self) -> Self {
        let steps = self.0.len().max(other.0.len());
        let at = |tally: &Self, step| tally.0.get(step).copied().unwrap_or(0);
        Self((0..steps).map(|step| at(self, step) + at(other, step)).collect())
    }

    /// How long the last in the longest queue waits in milliseconds, where each costs so many microseconds of so many cores.
    pub fn longest_wait(&self, cost_micros: f64, cores: f64, span: Range<Time>) -> f64 {
        let capacity = STEP as f64 * 1000.0 * cores;
        let (mut owed, mut longest) = (0.0_f64, 0.0_f64);
        for count in self.steps(span) {
            owed += f64::from(count) * cost_micros;
            longest = longest.max(owed / cores / 1000.0);
            owed = (owed - capacity).max(0.0);
        }
        longest
    }
}
