//! What TC does for connections that were sent to another backend: the packets of those that were, and the refusals of
//! those that are about to be.

use core::mem::size_of;

use aya_ebpf::{
    bindings::{
        bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{
        bpf_redirect, bpf_redirect_neigh, bpf_sk_lookup_tcp, bpf_sk_release, bpf_sk_storage_get,
    },
};
use lb_common::{
    Endpoint,
    packet::{ClientKey, FLOW_ANSWERED, FLOW_RESET, Flow, NodeKey, SEEN_STEP_NS},
    socket::{TRACK_SENT_ON, Track},
};

use crate::{
    maps::{RESCUE_RULES, RESCUED, RESCUED_FLOWS, TRACKS},
    nat::{Edit, Kind, Link, Packet, Parsed, RST, Skb, parse_plain, rewrite},
    rescue,
};

/// TC_ACT_UNSPEC and TCX_NEXT: on to the programs after this one.
const NEXT: i32 = -1;
/// TC_ACT_SHOT.
const DROP: i32 = 2;
/// LOOPBACK_IFINDEX, include/net/flow.h.
const LOOPBACK: u32 = 1;
/// BPF_F_INGRESS of bpf_redirect().
const RECEIVED: u64 = 1;
/// BPF_F_CURRENT_NETNS, include/uapi/linux/bpf.h.
const CURRENT_NETNS: u64 = u64::MAX;

/// What leaves by an interface that leads to a backend.
#[inline(always)]
pub fn egress(skb: Skb, link: Link) -> i32 {
    let is_loopback = skb.ifindex() == LOOPBACK;
    if !is_loopback && !rescue::has_any() {
        return NEXT;
    }
    let Parsed::Packet(packet) = parse_plain(skb, link) else {
        return NEXT;
    };
    // A backend on this node answers by the loopback interface.
    if is_loopback && is_swallowed(skb, &packet) {
        return DROP;
    }
    let key = ClientKey { client: packet.src, vip: packet.dst };
    let Some(known) = RESCUED.get_ptr(&key) else {
        return NEXT;
    };
    let mut node = NodeKey { backend: packet.dst, port: 0 };
    // SAFETY: a pointer that the lookup returned.
    unsafe {
        (*known).backend.store(&mut node.backend);
        node.port = (*known).port;
    }
    let Some(flow) = RESCUED_FLOWS.get_ptr_mut(&node) else {
        return NEXT;
    };
    note(flow, &packet, 0);
    // SAFETY: as above.
    let (source, ifindex) = unsafe { ((*flow).source, (*flow).ifindex) };
    let src = Endpoint::new(source, node.port as u32);
    rewrite(skb, &packet, &Edit { src, dst: node.backend });
    // SAFETY: takes integers, and a null pointer where it is to look up the neighbour itself.
    (unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) }) as i32
}

/// What comes in by an interface that leads to a backend.
#[inline(always)]
pub fn ingress(skb: Skb, link: Link) -> i32 {
    let Parsed::Packet(packet) = parse_plain(skb, link) else {
        return NEXT;
    };
    if rescue::has_any() && is_ours(&packet) {
        let key = NodeKey { backend: packet.src, port: packet.dst.port_word() as u64 };
        if let Some(flow) = RESCUED_FLOWS.get_ptr_mut(&key) {
            return answer(skb, link, &packet, flow);
        }
    }
    if is_swallowed(skb, &packet) { DROP } else { NEXT }
}

/// Whether it is for one of the ports that rescued connections have.
#[inline(always)]
fn is_ours(packet: &Packet) -> bool {
    let Some(rules) = RESCUE_RULES.get_ptr(0) else {
        return false;
    };
    // SAFETY: a pointer that the lookup returned.
    let (first, ports) = unsafe { ((*rules).first_port, (*rules).ports) };
    (packet.dst.port() as u32).wrapping_sub(first) < ports
}

/// Makes an answer one of the backend that the socket believes in.
#[inline(always)]
fn answer(skb: Skb, link: Link, packet: &Packet, flow: *mut Flow) -> i32 {
    // SAFETY: a pointer that the lookup returned.
    let (source, src, dst) = unsafe { ((*flow).source, (*flow).vip, (*flow).client) };
    if !source.is(&packet.dst.address()) {
        return NEXT;
    }
    // The next one refuses as well: perhaps there is a third.
    // SAFETY: as above.
    if unsafe { (*flow).state } & FLOW_ANSWERED == 0 && is_refusal(packet) && send_on(skb, &src, &dst) {
        return DROP;
    }
    note(flow, packet, FLOW_ANSWERED);
    rewrite(skb, packet, &Edit { src, dst });
    if !is_on_this_node(&src, &dst) || link == Link::None {
        return NEXT;
    }
    // It comes as from this node itself: by the loopback interface. Its address is all zeros.
    skb.store(0, &[0_u16; 6], 0);
    // SAFETY: takes integers.
    (unsafe { bpf_redirect(LOOPBACK, RECEIVED) }) as i32
}

#[inline(always)]
fn is_on_this_node(backend: &Endpoint, client: &Endpoint) -> bool {
    backend.address().is(&client.address())
}

#[inline(always)]
fn is_refusal(packet: &Packet) -> bool {
    match packet.kind() {
        Kind::Tcp(segment) => segment.flags & RST != 0,
        Kind::Icmp(_) => true,
    }
}

/// Whether it must not reach its socket: it is from a backend that has been given up, or it is a refusal and the connection
/// goes to another backend now.
#[inline(always)]
fn is_swallowed(skb: Skb, packet: &Packet) -> bool {
    if rescue::has_any() {
        let key = ClientKey { client: packet.dst, vip: packet.src };
        if RESCUED.get_ptr(&key).is_some() {
            return true;
        }
    }
    is_refusal(packet) && send_on(skb, &packet.src, &packet.dst)
}

/// Sends the connection of a socket between these two to another backend, if it is one of ours that was not answered.
#[inline(always)]
fn send_on(skb: Skb, peer: &Endpoint, own: &Endpoint) -> bool {
    let v4 = peer.address().is_v4() && own.address().is_v4();
    let mut tuple = core::mem::MaybeUninit::<bpf_sock_tuple>::uninit();
    let place = tuple.as_mut_ptr();
    // SAFETY: the fields of one of the two kinds are written, and its size is told.
    let size = unsafe {
        if v4 {
            let ipv4 = &raw mut (*place).__bindgen_anon_1.ipv4;
            (*ipv4).saddr = peer.address().v4_word();
            (*ipv4).daddr = own.address().v4_word();
            (*ipv4).sport = peer.port_word() as u16;
            (*ipv4).dport = own.port_word() as u16;
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
        } else {
            let ipv6 = &raw mut (*place).__bindgen_anon_1.ipv6;
            (*ipv6).saddr = peer.address().v6_words();
            (*ipv6).daddr = own.address().v6_words();
            (*ipv6).sport = peer.port_word() as u16;
            (*ipv6).dport = own.port_word() as u16;
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
        }
    };
    // SAFETY: the socket is released on every way out; a null one is refused before.
    unsafe {
        let sk = bpf_sk_lookup_tcp(skb.0.cast(), place, size as u32, CURRENT_NETNS, 0);
        if sk.is_null() {
            return false;
        }
        let map = (&raw const TRACKS).cast_mut().cast();
        let track = bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0).cast::<Track>();
        let sent_on = match track.as_mut() {
            Some(track) if rescue::is_unanswered(track) && track.backend.is(peer) => {
                let sent_on = rescue::begin(own, track);
                if sent_on {
                    track.state = TRACK_SENT_ON;
                }
                sent_on
            }
            _ => false,
        };
        bpf_sk_release(sk.cast());
        sent_on
    }
}

#[inline(always)]
fn note(flow: *mut Flow, packet: &Packet, mut news: u32) {
    if let Kind::Tcp(segment) = packet.kind()
        && segment.flags & RST != 0
    {
        news |= FLOW_RESET;
    }
    // SAFETY: a pointer that a lookup returned; aligned words.
    unsafe {
        let state = (*flow).state;
        if state | news != state {
            (*flow).state = state | news;
        }
        let now = aya_ebpf::helpers::generated::bpf_ktime_get_ns();
        if now.wrapping_sub((*flow).seen) > SEEN_STEP_NS {
            (*flow).seen = now;
        }
    }
}
