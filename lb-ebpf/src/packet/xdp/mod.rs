//! The fast path: a packet of a connection that is open goes from one wire to another before the kernel makes an skb of it.
//!
//! It only ever takes what [`crate::ingress`] and [`crate::egress`] would have done the same to, and decides that before it
//! changes a byte. Whatever is new, odd or at its end it leaves to them: connections begin, end and are refused there
//! alone, and neither neighbours are asked for nor errors sent from here. So that the kernel learns that a connection lives
//! (its neighbour entries, nf_conntrack), a packet goes the long way every [`LONG_WAY_NS`] or so.
//!
//! ```text
//! client c:p > VIP  ──► wire, XDP: m:q > b  ──► wire
//! wire  ◄── VIP > c:p  XDP, wire ◄── backend b > m:q
//! ```

mod frame;
mod v4;
mod v6;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect},
};
use lb_common::{
    Endpoint,
    packet::{
        ClientKey, FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_HOST, FLOW_RESET, Flow, NodeKey, Rules,
        SEEN_STEP_NS, WIRE_RETURNS, WIRE_SENDS,
    },
};

use self::{
    frame::{Family, Frame, Headers},
    v4::V4,
    v6::V6,
};
use crate::{
    fib::{Travelling, next_hop},
    flows::advance,
    maps::{FAST, OPEN, OPEN_FLOWS, RULES, VIPS, WIRES},
    ports::is_ours,
    ways::way,
};

/// A flow that TC has not seen for so long sends its next segment without data the long way, where it may be overtaken
/// without harm.
const LONG_WAY_NS: u64 = SEEN_STEP_NS;
/// So it does with data, where there is no other: overtaken, it may be taken for lost.
const LONG_WAY_WITH_DATA_NS: u64 = 2 * SEEN_STEP_NS;

/// What the kernel has to see: a connection's end.
const AT_ITS_END: u32 = FLOW_CLIENT_DONE | FLOW_BACKEND_DONE | FLOW_RESET;

/// Takes a packet that came in, or passes it on as it is.
#[inline(always)]
pub fn fast(ctx: *mut xdp_md) -> u32 {
    let Some(frame) = Frame::of(ctx) else {
        return xdp_action::XDP_PASS;
    };
    let taken = match frame.ether_type() {
        V4::ETHER_TYPE => take::<V4>(ctx),
        V6::ETHER_TYPE => take::<V6>(ctx),
        _ => None,
    };
    taken.unwrap_or(xdp_action::XDP_PASS)
}

/// What a packet is to become.
struct Turn {
    flow: *mut Flow,
    src: Endpoint,
    dst: Endpoint,
    /// Where it must come in and go out: what comes by another way is TC's.
    comes_by: u32,
    goes_by: u32,
    to_backend: bool,
}

/// `None`: the packet is as it was.
#[inline(always)]
fn take<F: Family>(ctx: *mut xdp_md) -> Option<u32> {
    let frame = Frame::of_length(ctx, F::LENGTH)?;
    // SAFETY: the verifier vouches for the context and its fields.
    let came_by = unsafe { (*ctx).ingress_ifindex };
    // SAFETY: an element's value is written once, before it is inserted.
    let wire = unsafe { WIRES.get(&(came_by as u64)) }?;
    // What is for another machine, or for several, is only seen here.
    if frame.target() != wire.mac {
        return None;
    }
    let headers = F::read(ctx, frame)?;
    let turn = turn(&headers)?;
    if turn.comes_by != came_by || must_go_the_long_way(&turn, &headers) {
        return None;
    }
    let hop = next_hop(ctx.cast(), &travelling::<F>(&headers, &turn))?;
    if hop.ifindex != turn.goes_by || !can_send(came_by, hop.ifindex) {
        return None;
    }
    // SAFETY: pointers that lookups returned; aligned words.
    unsafe {
        let flow = turn.flow;
        let next = if turn.to_backend { &raw mut (*flow).to_backend } else { &raw mut (*flow).to_client };
        advance(next, &headers.segment);
    }
    F::write(frame, &headers, &turn.src, &turn.dst);
    frame.address(hop.macs);
    count();
    if hop.ifindex == came_by {
        return Some(xdp_action::XDP_TX);
    }
    // SAFETY: takes integers.
    Some(unsafe { bpf_redirect(hop.ifindex, 0) } as u32)
}

/// As it is between the programs on TC: there the client shows its own address.
#[inline(always)]
fn travelling<F: Family>(headers: &Headers, turn: &Turn) -> Travelling {
    let src = &headers.src;
    Travelling {
        v6: F::V6,
        src: src.address(),
        dst: turn.dst.address(),
        sport: if turn.to_backend { turn.src.port_word() as u16 } else { src.port_word() as u16 },
        dport: if turn.to_backend { turn.dst.port_word() as u16 } else { headers.dst.port_word() as u16 },
        length: headers.length,
        class: headers.class,
        ifindex: turn.comes_by,
    }
}

/// To which connection it belongs, and what becomes of it there.
#[inline(always)]
fn turn(headers: &Headers) -> Option<Turn> {
    let rules: *const Rules = RULES.get_ptr(0)?;
    let (src, dst) = (&headers.src, &headers.dst);
    if is_ours(dst.port(), rules) {
        let key = NodeKey { backend: *src, port: dst.port_word() as u64 };
        if let Some(flow) = OPEN_FLOWS.get_ptr_mut(&key) {
            // SAFETY: a pointer that the lookup returned.
            let source = unsafe { (*flow).source };
            if source.is(&dst.address()) {
                return from_backend(flow);
            }
        }
    }
    // SAFETY: an element's value is written once, before it is inserted.
    unsafe { VIPS.get(dst) }?;
    let known = OPEN.get_ptr(&ClientKey { client: *src, vip: *dst })?;
    let mut node = NodeKey { backend: *dst, port: 0 };
    // SAFETY: a pointer that the lookup returned; words one by one.
    unsafe {
        (*known).backend.store(&mut node.backend);
        node.port = (*known).port;
    }
    let flow = OPEN_FLOWS.get_ptr_mut(&node)?;
    to_backend(flow, &node)
}

#[inline(always)]
fn from_backend(flow: *mut Flow) -> Option<Turn> {
    // SAFETY: a pointer that the lookup returned.
    let (src, dst, index, goes_by) = unsafe { ((*flow).vip, (*flow).client, (*flow).index, (*flow).ifindex) };
    let comes_by = way(index)?;
    Some(Turn { flow, src, dst, comes_by, goes_by, to_backend: false })
}

#[inline(always)]
fn to_backend(flow: *mut Flow, node: &NodeKey) -> Option<Turn> {
    // SAFETY: a pointer that the lookup returned.
    let (source, index, comes_by) = unsafe { ((*flow).source, (*flow).index, (*flow).ifindex) };
    let src = Endpoint::new(source, node.port as u32);
    Some(Turn { flow, src, dst: node.backend, comes_by, goes_by: way(index)?, to_backend: true })
}

#[inline(always)]
fn must_go_the_long_way(turn: &Turn, headers: &Headers) -> bool {
    // SAFETY: a pointer that the lookup returned; takes nothing.
    let (state, seen, now) = unsafe { ((*turn.flow).state, (*turn.flow).seen, bpf_ktime_get_coarse_ns()) };
    // This clock is behind the one that TC reads, by a tick at most.
    let idle = now.saturating_sub(seen);
    let most = if headers.has_data { LONG_WAY_WITH_DATA_NS } else { LONG_WAY_NS };
    state & (AT_ITS_END | FLOW_HOST) != 0 || idle > most
}

/// Whether a packet can leave this way without an skb.
#[inline(always)]
fn can_send(came_by: u32, goes_by: u32) -> bool {
    // SAFETY: an element's value is written once, before it is inserted.
    let Some(wire) = (unsafe { WIRES.get(&(goes_by as u64)) }) else {
        return false;
    };
    let needed = if came_by == goes_by { WIRE_RETURNS } else { WIRE_SENDS };
    wire.can & needed != 0
}

#[inline(always)]
fn count() {
    if let Some(packets) = FAST.get_ptr_mut(0) {
        // SAFETY: a pointer that the lookup returned; only this processor writes there.
        unsafe { *packets += 1 };
    }
}
