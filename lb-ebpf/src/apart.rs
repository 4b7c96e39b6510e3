//! What the verifier looks at once and by itself, for any argument, and not again wherever it is called (a global function,
//! Linux 5.6): without CAP_PERFMON what it has to follow would exceed its limit, and its caller the size of the stack. It takes and
//! returns numbers.

use crate::choose::other;

/// There is none.
pub const NONE: u32 = u32::MAX;

/// The index that [`other`] gives, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lbctl_other(slot: u32, last: u32, first: u32) -> u32 {
    other(slot, last, first).unwrap_or(NONE)
}
