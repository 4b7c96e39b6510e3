//! What a program returns, and what is counted of packets that do not get through.

use aya_ebpf::helpers::generated::bpf_redirect;

use crate::{
    choose::add,
    maps::TALLY,
    nat::{Link, Packet, Reply, Segment, Skb, reply_with_reset},
};

/// The packet goes on as it is now, to programs after this one if there are any: TC_ACT_UNSPEC and TCX_NEXT,
/// include/uapi/linux/pkt_cls.h and bpf.h.
pub const NEXT: i32 = -1;
/// The packet is dropped.
pub const DROP: i32 = 2;

/// LOOPBACK_IFINDEX, include/net/flow.h: the same in every network namespace.
pub const LOOPBACK: u32 = 1;
/// BPF_F_INGRESS of bpf_redirect(), include/uapi/linux/bpf.h: received by the interface instead of sent.
pub const RECEIVED: u64 = 1;

/// Where a hook is, as far as a refusal has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At an interface that the packet came in by: what answers it goes out there.
    Ingress(Link),
    /// On the way out by the loopback interface: what answers it comes in there.
    Loopback,
}

/// Counts and drops.
#[inline(always)]
pub fn drop(reason: u32) -> i32 {
    count(reason);
    DROP
}

/// Counts, and answers with a RST where that is due.
#[inline(always)]
pub fn refuse(skb: Skb, place: Place, packet: &Packet, segment: &Segment, reason: u32) -> i32 {
    count(reason);
    let link = match place {
        Place::Ingress(link) => link,
        Place::Loopback => Link::Ethernet,
    };
    if reply_with_reset(skb, link, packet, segment) == Reply::Silence {
        return DROP;
    }
    match place {
        Place::Ingress(_) => redirect(skb.ifindex(), 0),
        Place::Loopback => redirect(LOOPBACK, RECEIVED),
    }
}

#[inline(always)]
pub fn redirect(ifindex: u32, flags: u64) -> i32 {
    // SAFETY: takes integers.
    (unsafe { bpf_redirect(ifindex, flags) }) as i32
}

/// Counts under a `DROP_` or `TALLY_` constant.
#[inline(always)]
pub fn count(what: u32) {
    if let Some(word) = TALLY.get_ptr_mut(what) {
        // SAFETY: a pointer that the lookup returned.
        unsafe { add(word, 1) };
    }
}
