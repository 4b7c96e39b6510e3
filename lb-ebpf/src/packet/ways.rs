//! Whether and how a connection may be sent on to a backend.

use crate::{choose::is_below, maps::WAYS};

/// 1 where there is a way to it, else 0.
#[inline(always)]
pub fn reaches(index: u32) -> u64 {
    match WAYS.get_ptr(index) {
        // SAFETY: a pointer that the lookup returned.
        Some(way) => is_below(0, unsafe { (*way).ifindex } as u64),
        None => 0,
    }
}

/// The interface towards a backend that is not on the node.
#[inline(always)]
pub fn way(index: u32) -> Option<u32> {
    let way = WAYS.get_ptr(index)?;
    // SAFETY: a pointer that the lookup returned.
    let (ifindex, local) = unsafe { ((*way).ifindex, (*way).local) };
    (local == 0).then_some(ifindex)
}
