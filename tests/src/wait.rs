//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::slowness::stretched;

/// Short beside the times that tests measure, long enough not to take a core from what is waited for; [`stretched`] too.
const POLL: Duration = Duration::from_millis(10);

/// Asks `condition` again and again until it gives a value. The deadline is [`stretched`] on a slow machine.
///
/// # Errors
/// When `deadline` has passed: says `what` was awaited and the last reason given.
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let (started, deadline) = (Instant::now(), stretched(deadline));
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(reason) if started.elapsed() >= deadline => {
                bail!("{what}: not within {deadline:?}; at last: {reason}")
            }
            Err(_) => std::thread::sleep(stretched(POLL)),
        }
    }
}
