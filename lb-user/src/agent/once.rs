//! `lbctl run --once`: when the node is programmed, and when it was tried for long enough.

use std::time::{Duration, Instant};

use super::{AgentError, Ended, Once, event_loop::Agent};

/// Beyond the verdicts, how long `--once` waits for the kernel and the hosts file.
const ONCE_GRACE: Duration = Duration::from_secs(10);

/// How long `--once` waits, once every service is served, for the first verdict on the other backends: it should leave
/// all that are healthy behind, not only the quickest.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// How far `--once` has come.
pub(super) struct Progress {
    once: Once,
    began: Instant,
    /// Since when every service is served and the node programmed.
    served: Option<Instant>,
}

impl Progress {
    pub(super) fn new(once: Once, began: Instant) -> Self {
        Self { once, began, served: None }
    }

    /// When to look again, whatever happens.
    pub(super) fn due(&self) -> Instant {
        self.served.map_or(self.deadline(), |served| self.deadline().min(served + STRAGGLERS))
    }

    fn deadline(&self) -> Instant {
        self.began + self.once.wait.unwrap_or(ONCE_GRACE)
    }
}

impl Agent {
    /// Whether the kernel and the hosts file are as they should be.
    pub(super) fn is_in_place(&self) -> bool {
        self.published.is_programmed() && (!self.config.hosts.manage || self.published.hosts == Some(Ok(())))
    }

    /// Whether `--once` has what it came for, or has waited long enough.
    pub(super) fn once_ended(&mut self) -> Option<Result<Ended, AgentError>> {
        let programmed = self.is_in_place();
        let progress = self.once.as_mut()?;
        let now = Instant::now();
        let (served, settled) = (self.controller.all_services_up(), self.controller.is_settled());
        progress.served = (programmed && served).then(|| progress.served.unwrap_or(now));
        match progress.served {
            Some(_) if settled || now >= progress.due() => return Some(Ok(Ended::Done)),
            None if programmed && settled && !served && progress.once.wait.is_none() => {
                return Some(Ok(Ended::NoHealthyBackend));
            }
            Some(_) | None => {}
        }
        if now < progress.deadline() {
            return None;
        }
        if programmed {
            return Some(Ok(Ended::NoHealthyBackend));
        }
        let why = self.published.complaint().unwrap_or_else(|| "no answer from the kernel".to_owned());
        Some(Err(AgentError::NotProgrammed { after: progress.began.elapsed(), why }))
    }
}
