//! A connection that its backend does not answer goes to another one. The socket knows nothing of it: it goes on talking to
//! the backend that it was given, and its packets are translated on their way, for the rest of its life.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use lb_common::{
    Endpoint,
    packet::{ClientKey, FLOW_HOST, Flow, NodeKey, Rules, TALLY_BEGUN, TALLY_ENDED, TALLY_RESCUED, Way},
    socket::{Backend, TRACK_CONNECTING, TRACK_SENT_ON, TRACK_WAITING, Track},
};

use crate::{
    apart::lbctl_other,
    choose::add,
    maps::{BACKENDS, RESCUE_RULES, RESCUE_SCRATCH, RESCUE_TALLY, RESCUE_WAYS, RESCUED, RESCUED_FLOWS},
};

/// A connection is sent to so many others at most.
const MOST_TRIES: u32 = 3;
/// BPF_NOEXIST, include/uapi/linux/bpf.h.
const NEW_ONLY: u64 = 1;

/// Whether a connection has not been answered.
#[inline(always)]
pub fn is_unanswered(track: &Track) -> bool {
    is_unanswered_state(track.state)
}

/// As [`is_unanswered`].
#[inline(always)]
pub fn is_unanswered_state(state: u32) -> bool {
    state == TRACK_CONNECTING || state == TRACK_WAITING || state == TRACK_SENT_ON
}

/// Sends a connection to another backend, where there is one: its next SYN goes there. Whether it does.
#[inline(always)]
pub fn begin(client: &Endpoint, track: &mut Track) -> bool {
    let Some(rules) = RESCUE_RULES.get_ptr(0) else {
        return false;
    };
    // SAFETY: a pointer that the lookup returned.
    if unsafe { (*rules).rescues } == 0 {
        return false;
    }
    let (Some(first), Some(old)) = (BACKENDS.get_ptr(track.index), RESCUE_WAYS.get_ptr(track.index)) else {
        return false;
    };
    // A socket of another network namespace has another address; its packets come by here under yet another.
    // SAFETY: as above.
    if unsafe { !(*old).source.is(&client.address()) } {
        return false;
    }
    // What another says in the name of one on this node would be dropped as a martian, which IPv6 does not know.
    // SAFETY: as above.
    if unsafe { (*old).local != 0 } && client.address().is_v4() {
        return false;
    }
    let mut key = ClientKey { client: *client, vip: *client };
    track.backend.store(&mut key.vip);
    let past = past(&key, track.index);
    if past.tries >= MOST_TRIES {
        return false;
    }
    // SAFETY: as above.
    let index = lbctl_other(unsafe { (*first).slot }, track.index, past.first);
    let (Some(backend), Some(way)) = (BACKENDS.get_ptr_mut(index), RESCUE_WAYS.get_ptr(index)) else {
        return false;
    };
    if past.node.port != 0 {
        let _ = RESCUED_FLOWS.remove(&past.node);
        count(TALLY_ENDED);
    }
    if !enter(&key, backend, (index, way), &past, rules) {
        return false;
    }
    track.index = index;
    true
}

/// How a connection has fared so far. Without padding: the compiler reads it whole, and the verifier refuses to without
/// CAP_PERFMON.
struct Past {
    /// Its key in RESCUED_FLOWS, where it was sent to another backend before; port 0: it was not.
    node: NodeKey,
    /// How often it was.
    tries: u32,
    /// The index of the backend that it was tried with first.
    first: u32,
}

/// The past of a connection that this backend does not answer.
#[inline(always)]
fn past(key: &ClientKey, index: u32) -> Past {
    let mut past = Past { node: NodeKey { backend: key.vip, port: 0 }, tries: 0, first: index };
    let Some(known) = RESCUED.get_ptr(key) else {
        return past;
    };
    // SAFETY: a pointer that the lookup returned.
    unsafe {
        (*known).backend.store(&mut past.node.backend);
        past.node.port = (*known).port;
    }
    let Some(flow) = RESCUED_FLOWS.get_ptr(&past.node) else {
        past.node.port = 0;
        return past;
    };
    // SAFETY: as above. One of another index was left by an earlier connection from the same port.
    unsafe {
        if (*flow).index == index {
            past.tries = (*flow).tries as u32 + 1;
            past.first = ((*flow).first as u32).wrapping_sub(1);
        }
    }
    past
}

#[inline(always)]
fn enter(
    key: &ClientKey,
    backend: *mut Backend,
    (index, way): (u32, *const Way),
    past: &Past,
    rules: *const Rules,
) -> bool {
    let Some(flow) = RESCUE_SCRATCH.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: pointers that lookups returned; nobody else uses the scratch meanwhile.
    unsafe {
        key.client.store(&mut (*flow).client);
        key.vip.store(&mut (*flow).vip);
        (*way).source.store(&mut (*flow).source);
        (*flow).index = index;
        (*flow).state = FLOW_HOST;
        (*flow).begun = bpf_ktime_get_ns();
        (*flow).seen = (*flow).begun;
        (*flow).to_client = 0;
        (*flow).to_backend = 0;
        (*flow).tries = past.tries as u16;
        (*flow).first = (past.first as u16).wrapping_add(1);
        (*flow).ifindex = (*way).ifindex;
    }
    let mut node = NodeKey { backend: key.vip, port: 0 };
    // SAFETY: as above.
    unsafe { (*backend).endpoint.store(&mut node.backend) };
    // Those of connections that are over are kept until an agent looks: after hundreds one in ten is taken.
    let entered = try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules)
        || try_port(&mut node, flow, rules);
    if !entered {
        return false;
    }
    if RESCUED.insert(key, &node, 0).is_err() {
        let _ = RESCUED_FLOWS.remove(&node);
        return false;
    }
    // SAFETY: as above.
    unsafe { add(&raw mut (*backend).total, 1) };
    count(TALLY_BEGUN);
    count(TALLY_RESCUED);
    true
}

/// One try with a port of chance.
#[inline(always)]
fn try_port(node: &mut NodeKey, flow: *const Flow, rules: *const Rules) -> bool {
    // SAFETY: takes nothing; a pointer that the lookup returned.
    let (random, first, ports) = unsafe { (bpf_get_prandom_u32(), (*rules).first_port, (*rules).ports) };
    if ports == 0 {
        return false;
    }
    let port = first + ((random as u64 * ports as u64) >> 32) as u32;
    node.port = (port as u16).to_be() as u64;
    // SAFETY: as above.
    RESCUED_FLOWS.insert(&*node, unsafe { &*flow }, NEW_ONLY).is_ok()
}

#[inline(always)]
fn count(what: u32) {
    if let Some(word) = RESCUE_TALLY.get_ptr_mut(what) {
        // SAFETY: a pointer that the lookup returned.
        unsafe { add(word, 1) };
    }
}

/// Whether any connection was ever rescued: where none was, packets are left alone at once.
#[inline(always)]
pub fn has_any() -> bool {
    let Some(rescued) = RESCUE_TALLY.get_ptr(TALLY_RESCUED) else {
        return false;
    };
    // SAFETY: a pointer that the lookup returned; an aligned word.
    unsafe { ptr::read_volatile(rescued) != 0 }
}
