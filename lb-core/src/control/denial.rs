//! What a 403 is worth.
//!
//! A cluster that refuses anonymous requests answers every probe with one, and is well. But so does, for a second or two, an
//! apiserver that has just started and has not read who may do what yet: it would refuse its clients as well.

use std::time::{Duration, Instant};

use super::{Controller, Now};
use crate::{model::BackendKey, probe::ProbeOutcome};

/// How long a backend may be starting. Its caches are filled within seconds; who goes on refusing does so on purpose.
const STARTING: Duration = Duration::from_secs(30);

/// What a backend has said to anonymous probes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Denial {
    /// It has let one through.
    granted: bool,
    /// Since when it has refused them.
    since: Option<Instant>,
}

impl Denial {
    fn take(&mut self, now: Instant, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Ready { .. } => *self = Self { granted: true, since: None },
            ProbeOutcome::Denied { .. } => _ = self.since.get_or_insert(now),
            ProbeOutcome::NotReady { .. } | ProbeOutcome::Failed(_) => self.since = None,
            ProbeOutcome::Inconclusive { .. } => {}
        }
    }

    fn is_starting(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < STARTING)
    }
}

impl Controller {
    /// The outcome, with a 403 taken for "not ready" while its backend may be starting: where one of the service has let
    /// probes through, they all do.
    pub(super) fn weighed(&mut self, now: Now, key: &BackendKey, outcome: &ProbeOutcome) -> ProbeOutcome {
        let Some(tracked) = self.backends.get_mut(key) else { return outcome.clone() };
        tracked.denial.take(now.instant, outcome);
        let starting = tracked.denial.is_starting(now.instant);
        let mut siblings = self.backends.iter().filter(|(other, _)| other.service == key.service);
        match outcome {
            ProbeOutcome::Denied { latency, status }
                if starting && siblings.any(|(_, tracked)| tracked.denial.granted) =>
            {
                ProbeOutcome::NotReady { latency: *latency, status: *status }
            }
            _ => outcome.clone(),
        }
    }
}
