//! Whether a connection may be sent on to a backend.

use crate::{choose::is_below, maps::RESCUE_WAYS};

/// 1 where there is a way to it and it is not on this node itself, else 0: the answer of one on this node would come as a martian.
#[inline(always)]
pub fn reaches(index: u32) -> u64 {
    let Some(way) = RESCUE_WAYS.get_ptr(index) else {
        return 0;
    };
    // SAFETY: a pointer that the lookup returned.
    let (ifindex, local) = unsafe { ((*way).ifindex, (*way).local) };
    is_below(0, ifindex as u64) & is_below(local as u64, 1)
}
