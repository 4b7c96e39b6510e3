//! When a backend is probed next.

use std::time::{Duration, Instant};

use super::state::{Doubt, Run, State, Streak, Trend};
use crate::probe::ProbeOutcome;

/// From a prompt failure to the next probe: with `fall: 5` a refused backend is dead after 60 ms, and yet a
/// process that closes one connection by accident gets a second chance.
pub(super) const PROMPT_RETRY: Duration = Duration::from_millis(15);

/// The least from probe to probe while timeouts decide: a probe follows at once on one that timed out, but a tiny
/// `timeout` must not become a flood.
pub(super) const FAST_PACE: Duration = Duration::from_millis(100);

/// The most from probe to probe while a success is news: `run --wait` has to notice a master within a second.
pub(super) const EAGER_PACE: Duration = Duration::from_millis(500);

/// Lost connections in quick succession that are each followed by a probe at once; beyond that, one per interval.
/// Enough for a crash right after a graceful close, and no flood from a backend that closes after each answer.
const LOSS_BURST: u32 = 3;

/// The share of a pace that is left to chance, so that the probes of many nodes spread out.
const JITTER: f64 = 0.1;

/// Whether a probe is awaited or under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// The next one starts then.
    Due(Instant),
    /// One is under way.
    UnderWay {
        /// Since when.
        started: Instant,
        /// Whether another one follows at once, because something happened meanwhile.
        again: bool,
    },
}

impl Schedule {
    /// Whether [`hurry`](Self::hurry) would change nothing.
    pub(super) fn is_hurried(&self, now: Instant) -> bool {
        match self {
            Self::Due(at) => *at <= now,
            Self::UnderWay { again, .. } => *again,
        }
    }

    /// Asks for a probe that starts now or, where one is under way, right after it.
    pub(super) fn hurry(&mut self, now: Instant) {
        match self {
            Self::Due(at) => *at = now.min(*at),
            Self::UnderWay { again, .. } => *again = true,
        }
    }
}

/// How soon to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// After [`PROMPT_RETRY`], counted from the end of the last probe.
    Prompt,
    /// After [`FAST_PACE`], counted like the rest from the start of the last probe.
    Fast,
    /// After [`EAGER_PACE`].
    Eager,
    /// After the interval.
    Steady,
}

impl Pace {
    /// The pace after `outcome` has led to `state`.
    pub(super) fn after(outcome: &ProbeOutcome, state: &State, established: bool) -> Self {
        match outcome {
            // What keeps this node from probing will not be mended by more probes.
            ProbeOutcome::Inconclusive { .. } => Self::Steady,
            ProbeOutcome::Ready { .. }
            | ProbeOutcome::Denied { .. }
            | ProbeOutcome::NotReady { .. }
            | ProbeOutcome::Failed(_) => Self::in_state(state, established),
        }
    }

    fn in_state(state: &State, established: bool) -> Self {
        match state {
            State::Unknown | State::Up { doubt: None | Some(Doubt::Lost(_)) } => Self::Steady,
            State::Up { doubt: Some(Doubt::NotReady(_)) } => Self::Fast,
            State::Suspect { streak } | State::NotReady { trend: Trend::Failing(streak), .. } => {
                Self::in_streak(streak)
            }
            State::NotReady { trend: Trend::Rising(_), .. } | State::Dead { run: Run::Successes(_), .. } => {
                Self::Eager
            }
            State::NotReady { trend: Trend::Steady, .. } | State::Dead { run: Run::Failures(_), .. } => {
                if established {
                    Self::Steady
                } else {
                    Self::Eager
                }
            }
        }
    }

    fn in_streak(streak: &Streak) -> Self {
        if streak.last.is_prompt() { Self::Prompt } else { Self::Fast }
    }

    /// How much sooner than due the next probe may start: where there is no hurry, as much as is left to chance.
    pub(super) fn slack(self, interval: Duration) -> Duration {
        match self {
            Self::Prompt | Self::Fast | Self::Eager => Duration::ZERO,
            Self::Steady => interval.mul_f64(JITTER),
        }
    }

    /// When the next probe starts: never before `now`, and never later than an interval after the last start unless
    /// that is over.
    pub(super) fn due(
        self,
        started: Instant,
        now: Instant,
        interval: Duration,
        rng: &mut fastrand::Rng,
    ) -> Instant {
        let due = match self {
            Self::Prompt => now + PROMPT_RETRY,
            Self::Fast => started + FAST_PACE,
            Self::Eager => started + jittered(EAGER_PACE.min(interval), rng),
            Self::Steady => started + jittered(interval, rng),
        };
        due.min(started + interval).max(now)
    }
}

/// `pace`, or up to a tenth less. Never more, so that the time to notice a fault stays within its bound.
pub(super) fn jittered(pace: Duration, rng: &mut fastrand::Rng) -> Duration {
    pace.mul_f64(1.0 - JITTER * rng.f64()).min(pace)
}

/// How many lost connections may still be followed by a probe at once: a leaky bucket, kept as the instant when it
/// will be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct LossBudget {
    empty_at: Instant,
}

impl LossBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { empty_at: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant, interval: Duration) -> bool {
        let empty_at = self.empty_at.max(now) + interval;
        let granted = empty_at <= now + interval * LOSS_BURST;
        if granted {
            self.empty_at = empty_at;
        }
        granted
    }
}
