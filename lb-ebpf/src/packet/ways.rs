//! Whether and how a connection may be sent on to a backend.

use lb_common::packet::Flow;

use crate::{choose::is_below, maps::WAYS, nat::Skb};

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

/// Whether what came in here of a connection of the node's own may stay: the kernel was asked about this way, and the connection
/// is still one that goes by it.
#[inline(always)]
pub fn is_in_place(skb: Skb, flow: *const Flow) -> bool {
    // SAFETY: a pointer that the lookup returned.
    let (index, source) = unsafe { ((*flow).index, (*flow).source) };
    let Some(way) = WAYS.get_ptr(index) else {
        return false;
    };
    // SAFETY: as above.
    let (in_place, ifindex, towards) = unsafe { ((*way).in_place, (*way).ifindex, (*way).source) };
    in_place != 0 && ifindex == skb.ifindex() && towards.is(&source)
}
