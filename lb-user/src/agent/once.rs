//! `lbctl run --once`: when the node is programmed, and when it was tried for long enough.

use std::time::{Duration, Instant};

use super::{AgentError, Ended, Once, event_loop::Agent};

/// Beyond the verdicts, how long `--once` waits for the kernel and the hosts file.
const ONCE_GRACE: Duration = Duration::from_secs(10);

/// How far `--once` has come.
pub(super) struct Progress {
    once: Once,
    began: Instant,
}

impl Progress {
    pub(super) fn new(once: Once, began: Instant) -> Self {
        Self { once, began }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.began + self.once.wait.unwrap_or(ONCE_GRACE)
    }
}

impl Agent {
    /// Whether `--once` has what it came for, or has waited long enough.
    pub(super) fn once_ended(&self) -> Option<Result<Ended, AgentError>> {
        let progress = self.once.as_ref()?;
        let programmed = self.published.is_programmed();
        let hosts = !self.config.hosts.manage || self.published.hosts == Some(Ok(()));
        if programmed && hosts {
            if self.controller.all_services_up() {
                return Some(Ok(Ended::Done));
            }
            if progress.once.wait.is_none() && self.controller.is_settled() {
                return Some(Ok(Ended::NoHealthyBackend));
            }
        }
        if Instant::now() < progress.deadline() {
            return None;
        }
        if programmed && hosts {
            return Some(Ok(Ended::NoHealthyBackend));
        }
        let why = self.published.complaint().unwrap_or_else(|| "no answer from the kernel".to_owned());
        Some(Err(AgentError::NotProgrammed { after: progress.began.elapsed(), why }))
    }
}
