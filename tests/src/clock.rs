//! One clock for all processes of this machine, which nobody sets.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is negative: clock_gettime(2).
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}
