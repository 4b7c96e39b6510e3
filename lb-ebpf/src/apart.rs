//! Functions that the verifier looks at once and by themselves, for any argument, and not again wherever they are called
//! (global functions, Linux 5.6): without CAP_PERFMON what it has to follow would exceed its limit. They take and return numbers.

use crate::choose::{choose, other};

/// There is none.
pub const NONE: u32 = u32::MAX;

/// The index that [`choose`] gives, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lbctl_choose(slot: u32) -> u32 {
    choose(slot).map_or(NONE, |(index, _)| index)
}

/// The index that [`other`] gives, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lbctl_other(slot: u32, not: u32) -> u32 {
    other(slot, not).map_or(NONE, |(index, _)| index)
}
