//! What a backend's health can be, and what each outcome makes of it. No time in here: see [`super::schedule`].

use std::num::NonZeroU32;

use crate::{
    model::Health,
    probe::{Failure, ProbeOutcome},
};

/// A health together with what is needed to judge the next outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No verdict yet.
    Unknown,
    /// Ready.
    Up {
        /// What speaks against it, too weak for a verdict.
        doubt: Option<Doubt>,
    },
    /// Failing, but not yet for long enough.
    Suspect {
        /// The failures since it was up.
        streak: Streak,
    },
    /// Answers, but is not ready.
    NotReady {
        /// The last HTTP status that said so.
        status: u16,
        /// Where it is going.
        trend: Trend,
    },
    /// Gone.
    Dead {
        /// The last failure.
        why: Failure,
        /// What the last probes said.
        run: Run,
    },
}

/// What speaks against a backend that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// One answer said that it is not ready; a second one decides.
    NotReady(u16),
    /// The kept connection was lost; the next probe decides.
    Lost(Failure),
}

/// Failures in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Streak {
    /// How many.
    pub(super) failures: NonZeroU32,
    /// The last one.
    pub(super) last: Failure,
}

/// Where a backend that is not ready is going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    /// The last answer said: not ready.
    Steady,
    /// Successes in a row; fewer than `rise`.
    Rising(u32),
    /// Failures in a row, not yet enough.
    Failing(Streak),
}

/// What the last probes of a dead backend said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// Failures in a row, those before its death included.
    Failures(u32),
    /// Successes in a row; fewer than `rise`.
    Successes(u32),
}

/// What the verdict depends on besides the state and the outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Failures in a row until the verdict.
    pub(super) fall: NonZeroU32,
    /// Successes in a row until it is up again.
    pub(super) rise: NonZeroU32,
    /// The last answer is `dead_after` or longer ago.
    pub(super) silent: bool,
    /// It was up before, or was serving when it was taken over: there are connections that a verdict can hurt.
    pub(super) established: bool,
}

impl Streak {
    pub(super) fn first(last: &Failure) -> Self {
        Self { failures: NonZeroU32::MIN, last: last.clone() }
    }

    fn and(&self, last: &Failure) -> Self {
        Self { failures: self.failures.saturating_add(1), last: last.clone() }
    }

    /// Timeouts may come from mere overload and need silence as well; what the backend said itself does not.
    fn is_fatal(&self, facts: Facts) -> bool {
        self.failures >= facts.fall && (self.last.is_prompt() || facts.silent)
    }

    fn or_dead(self, facts: Facts, alive: impl FnOnce(Self) -> State) -> State {
        if self.is_fatal(facts) { self.dead() } else { alive(self) }
    }

    fn dead(self) -> State {
        State::Dead { why: self.last, run: Run::Failures(self.failures.get()) }
    }
}

impl State {
    pub(super) fn health(&self) -> Health {
        match self {
            Self::Unknown => Health::Unknown,
            Self::Up { .. } => Health::Up,
            Self::Suspect { .. } => Health::Suspect,
            Self::NotReady { .. } => Health::NotReady,
            Self::Dead { .. } => Health::Dead,
        }
    }

    /// What a verdict makes of it that no probe has brought about, after so many failed ones.
    pub(super) fn gone(why: Failure, failures: u32) -> Self {
        Self::Dead { why, run: Run::Failures(failures) }
    }

    /// The failures that have not killed it yet.
    pub(super) fn streak(&self) -> Option<&Streak> {
        match self {
            Self::Suspect { streak } | Self::NotReady { trend: Trend::Failing(streak), .. } => Some(streak),
            Self::Unknown
            | Self::Up { .. }
            | Self::NotReady { trend: Trend::Steady | Trend::Rising(_), .. }
            | Self::Dead { .. } => None,
        }
    }

    /// The state after a probe.
    pub(super) fn after(&self, outcome: &ProbeOutcome, facts: Facts) -> Self {
        match outcome {
            ProbeOutcome::Ready { .. } | ProbeOutcome::Denied { .. } => self.after_ready(facts),
            ProbeOutcome::NotReady { status, .. } => self.after_not_ready(*status, facts),
            ProbeOutcome::Failed(why) => self.after_failure(why, facts),
            ProbeOutcome::Inconclusive { .. } => self.clone(),
        }
    }

    /// The state when the silence has become too long, judged between two probes.
    pub(super) fn after_silence(&self, facts: Facts) -> Self {
        match self.streak() {
            Some(streak) if streak.is_fatal(facts) => streak.clone().dead(),
            Some(_) | None => self.clone(),
        }
    }

    fn after_ready(&self, facts: Facts) -> Self {
        let enough = |successes: u32| !facts.established || successes >= facts.rise.get();
        match self {
            // A suspect was never evicted, so one answer clears it.
            Self::Unknown | Self::Up { .. } | Self::Suspect { .. } => Self::Up { doubt: None },
            Self::NotReady { status, trend } => {
                let successes = match trend {
                    Trend::Rising(successes) => successes.saturating_add(1),
                    Trend::Steady | Trend::Failing(_) => 1,
                };
                if enough(successes) {
                    return Self::Up { doubt: None };
                }
                Self::NotReady { status: *status, trend: Trend::Rising(successes) }
            }
            Self::Dead { why, run } => {
                let successes = match run {
                    Run::Successes(successes) => successes.saturating_add(1),
                    Run::Failures(_) => 1,
                };
                if enough(successes) {
                    return Self::Up { doubt: None };
                }
                Self::Dead { why: why.clone(), run: Run::Successes(successes) }
            }
        }
    }

    fn after_not_ready(&self, status: u16, facts: Facts) -> Self {
        let verdict = Self::NotReady { status, trend: Trend::Steady };
        match self {
            Self::Up { doubt: None | Some(Doubt::Lost(_)) } if facts.fall > NonZeroU32::MIN => {
                Self::Up { doubt: Some(Doubt::NotReady(status)) }
            }
            Self::Unknown
            | Self::Up { .. }
            | Self::Suspect { .. }
            | Self::NotReady { .. }
            | Self::Dead { .. } => verdict,
        }
    }

    fn after_failure(&self, why: &Failure, facts: Facts) -> Self {
        let suspect = |streak| Self::Suspect { streak };
        match self {
            // It takes no traffic, so there is nothing to be careful about.
            Self::Unknown if !facts.established => Streak::first(why).dead(),
            Self::Unknown | Self::Up { .. } => Streak::first(why).or_dead(facts, suspect),
            Self::Suspect { streak } => streak.and(why).or_dead(facts, suspect),
            Self::NotReady { status, trend } => {
                let streak = match trend {
                    Trend::Failing(streak) => streak.and(why),
                    Trend::Steady | Trend::Rising(_) => Streak::first(why),
                };
                streak.or_dead(facts, |s| Self::NotReady { status: *status, trend: Trend::Failing(s) })
            }
            Self::Dead { run, .. } => {
                let failures = match run {
                    Run::Failures(failures) => failures.saturating_add(1),
                    Run::Successes(_) => 1,
                };
                Self::Dead { why: why.clone(), run: Run::Failures(failures) }
            }
        }
    }
}
