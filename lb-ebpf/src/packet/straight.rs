//! Plain segments of connections of the node's own processes that are open, without what anything else may need.
//!
//! As in [`crate::shortcut`], whatever is new, odd or at its end goes the long way.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::{
    Endpoint,
    packet::{FLOW_COUNTED, FLOW_HOST, Flow, NodeKey, SEEN_STEP_NS},
};

use crate::{
    flows::{self, AT_ITS_END},
    forward::send,
    maps::{HINTS, OPEN_FLOWS},
    nat::{ACK, Edit, FIN, Kind, Link, Packet, RST, Reach, SYN, Segment, Skb, rewrite_near},
    verdict::NEXT,
    ways::is_in_place,
};

/// Where a connection was found lately that begins at one of the ports which share this place. It may be gone, or another's.
#[repr(C)]
pub struct Hint {
    vip: Endpoint,
    node: NodeKey,
    /// When, in ns of CLOCK_MONOTONIC.
    found: u64,
}

/// Entries of `HINTS`. Of connections whose ports share one, the last to be found is hinted at; the others go the long way.
pub const PLACES: u32 = 1024;

/// From a process to the VIP. `None`: the long way.
#[inline(always)]
pub fn to_backend(skb: Skb, link: Link, packet: &Packet) -> Option<i32> {
    let segment = plain(packet)?;
    let hint = HINTS.get_ptr(place(&packet.src))?;
    let mut node = NodeKey { backend: packet.dst, port: 0 };
    // SAFETY: a pointer that the lookup returned; aligned words, and what does not belong together leads to no connection, or
    // to another's. Takes nothing.
    unsafe {
        let found = (*hint).found;
        if !(*hint).vip.is(&packet.dst) || bpf_ktime_get_ns().wrapping_sub(found) > SEEN_STEP_NS {
            return None;
        }
        (*hint).node.backend.store(&mut node.backend);
        node.port = (*hint).node.port;
    }
    let flow = OPEN_FLOWS.get_ptr_mut(&node)?;
    // SAFETY: a pointer that the lookup returned.
    let (client, vip) = unsafe { ((*flow).client, (*flow).vip) };
    if !client.is(&packet.src) || !vip.is(&packet.dst) || !is_plain(flow) {
        return None;
    }
    let is_answer = flows::sent(flow, &segment);
    Some(send(skb, Reach::Near(link), packet, &node, flow, is_answer))
}

/// The long way found it: until a second has passed, [`to_backend`] does too. In between the tables forget it no sooner than
/// others that were last used then.
#[inline(always)]
pub fn remember(packet: &Packet, node: &NodeKey) {
    let Some(hint) = HINTS.get_ptr_mut(place(&packet.src)) else {
        return;
    };
    // SAFETY: a pointer that the lookup returned; words one by one. Takes nothing.
    unsafe {
        packet.dst.store(&mut (*hint).vip);
        node.backend.store(&mut (*hint).node.backend);
        (*hint).node.port = node.port;
        (*hint).found = bpf_ktime_get_ns();
    }
}

/// From the backend of a connection to its process. `None`: the long way.
#[inline(always)]
pub fn to_process(skb: Skb, link: Link, packet: &Packet, flow: *mut Flow) -> Option<i32> {
    let segment = plain(packet)?;
    if !is_plain(flow) || !is_in_place(skb, flow) {
        return None;
    }
    flows::answered(flow, &segment);
    // SAFETY: a pointer that the lookup returned.
    let (src, dst) = unsafe { ((*flow).vip, (*flow).client) };
    rewrite_near(skb, link, packet, &Edit { src, dst });
    Some(NEXT)
}

#[inline(always)]
fn plain(packet: &Packet) -> Option<Segment> {
    match packet.kind() {
        Kind::Tcp(segment) if segment.flags & (SYN | FIN | RST | ACK) == ACK && !segment.is_malformed => {
            Some(segment)
        }
        _ => None,
    }
}

#[inline(always)]
fn is_plain(flow: *const Flow) -> bool {
    // SAFETY: a pointer that a lookup returned.
    unsafe { (*flow).state & (FLOW_COUNTED | FLOW_HOST | AT_ITS_END) == FLOW_COUNTED | FLOW_HOST }
}

#[inline(always)]
fn place(client: &Endpoint) -> u32 {
    u16::from_be(client.port_word() as u16) as u32 % PLACES
}
