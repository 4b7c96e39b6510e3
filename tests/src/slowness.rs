//! How much slower this machine is than the ones that times in tests are written for.
//!
//! Under a software-emulated processor all that is computed takes 10 to 20 times as long. Every deadline, every bar and
//! every timing of the agent's configuration goes through [`stretched`], every count of clients through [`thinned`].

use std::time::Duration;

/// The factor, a number from 1 (without it) to 100.
pub const SLOWNESS: &str = "LBCTL_TEST_SLOWNESS";
/// Beyond this a test would say nothing about time at all.
const MOST: f64 = 100.0;

/// The factor; 1 where the variable holds none, which [`mistake`] tells.
#[must_use]
pub fn factor() -> f64 {
    read().ok().flatten().unwrap_or(1.0)
}

/// What is wrong with the variable, if anything is.
#[must_use]
pub fn mistake() -> Option<String> {
    read().err()
}

/// A time as long as this machine needs for what others do in `duration`.
#[must_use]
pub fn stretched(duration: Duration) -> Duration {
    duration.mul_f64(factor())
}

/// So many clients or requests as keep this machine as busy as `count` keep others; at least one.
#[must_use]
pub fn thinned(count: u32) -> u32 {
    // Of a number between 0 and `count`, so nothing is lost.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `count`")]
    let thinned = (f64::from(count) / factor()).round() as u32;
    thinned.max(1)
}

fn read() -> Result<Option<f64>, String> {
    let Some(text) = std::env::var_os(SLOWNESS) else { return Ok(None) };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(factor) if (1.0..=MOST).contains(&factor) => Ok(Some(factor)),
        _ => Err(format!("{SLOWNESS}={} (hint: a number from 1 to {MOST})", text.display())),
    }
}
