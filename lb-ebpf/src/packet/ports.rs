//! By which ports of the node's the backends know connections, and how a new one gets its own.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use lb_common::{
    Address, Endpoint,
    packet::{ClientKey, Flow, NodeKey, Rules, TALLY_ENDED},
};

use crate::{
    flows::{Stage, by_node, is_over, remove},
    maps::{OPEN_FLOWS, OPENING, OPENING_FLOWS, SCRATCH},
    verdict::count,
};

/// Far longer than a handshake between machines of one data centre. A client further away gives way only where six ports of
/// chance were taken, and this one was the seventh or eighth.
const HANDSHAKE_NS: u64 = 10_000_000;

/// BPF_NOEXIST, include/uapi/linux/bpf.h.
const NEW_ONLY: u64 = 1;

/// Whether a port is of those that connections get on their way.
#[inline(always)]
pub fn is_ours(port: u16, rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned; aligned words.
    let (first, ports) = unsafe { ((*rules).first_port, (*rules).ports) };
    (port as u32).wrapping_sub(first) < ports
}

/// What a new connection is made of.
pub struct Beginning {
    pub index: u32,
    pub source: Address,
    pub state: u32,
    pub tries: u16,
    pub first: u16,
    pub ifindex: u32,
}

/// Takes a free port towards the backend and enters the connection. `None`: the ports that were tried are taken, or there is
/// no memory.
#[inline(always)]
pub fn begin(
    client: &ClientKey,
    backend: &Endpoint,
    what: &Beginning,
    rules: *const Rules,
    node: &mut NodeKey,
) -> Option<*mut Flow> {
    let flow = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: a pointer that the lookup returned; nobody else uses it meanwhile.
    unsafe {
        client.client.store(&mut (*flow).client);
        client.vip.store(&mut (*flow).vip);
        what.source.store(&mut (*flow).source);
        (*flow).index = what.index;
        (*flow).state = what.state;
        (*flow).begun = bpf_ktime_get_ns();
        (*flow).seen = (*flow).begun;
        (*flow).heard = 0;
        (*flow).to_client = 0;
        (*flow).to_backend = 0;
        (*flow).tries = what.tries;
        (*flow).first = what.first;
        (*flow).ifindex = what.ifindex;
    }
    backend.store(&mut node.backend);
    // A flood takes a third of the ports towards each of two backends, or more where they are few: see `vacate`.
    let entered = enter(node, flow, rules)
        || enter(node, flow, rules)
        || enter(node, flow, rules)
        || enter(node, flow, rules)
        || enter(node, flow, rules)
        || enter(node, flow, rules)
        || take_over(node, flow, rules)
        || take_over(node, flow, rules);
    if !entered {
        return None;
    }
    if OPENING.insert(client, &*node, 0).is_err() {
        let _ = OPENING_FLOWS.remove(&*node);
        return None;
    }
    OPENING_FLOWS.get_ptr_mut(&*node)
}

/// One try with a port of chance.
#[inline(always)]
fn enter(node: &mut NodeKey, flow: *const Flow, rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned.
    pick(node, rules)
        && OPEN_FLOWS.get_ptr(&*node).is_none()
        && OPENING_FLOWS.insert(&*node, unsafe { &*flow }, NEW_ONLY).is_ok()
}

/// As [`enter`], but a port will do that nobody needs any more.
#[inline(always)]
fn take_over(node: &mut NodeKey, flow: *const Flow, rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned.
    pick(node, rules)
        && vacate(node, unsafe { (*flow).begun })
        && OPENING_FLOWS.insert(&*node, unsafe { &*flow }, NEW_ONLY).is_ok()
}

/// Whether a port is free, or was held by a connection that both sides are done with or that has been half-open for longer than
/// a handshake takes. Both are kept for a while, and clients that come and go, or a flood, would use up all ports.
#[inline(always)]
fn vacate(node: &NodeKey, now: u64) -> bool {
    let Some(old) = by_node(node) else { return true };
    // SAFETY: a pointer that the lookup returned.
    let (state, begun) = unsafe { ((*old.flow).state, (*old.flow).begun) };
    let is_over = is_over(state);
    if !is_over && (old.stage == Stage::Open || now.saturating_sub(begun) <= HANDSHAKE_NS) {
        return false;
    }
    let mut client = ClientKey { client: node.backend, vip: node.backend };
    // SAFETY: as above; words one by one.
    unsafe {
        (*old.flow).client.store(&mut client.client);
        (*old.flow).vip.store(&mut client.vip);
    }
    if is_over {
        count(TALLY_ENDED);
    }
    remove(&client, node, &old);
    true
}

/// A port of chance.
#[inline(always)]
fn pick(node: &mut NodeKey, rules: *const Rules) -> bool {
    // SAFETY: takes nothing; a pointer that the lookup returned.
    let (random, first, ports) = unsafe { (bpf_get_prandom_u32(), (*rules).first_port, (*rules).ports) };
    let port = first + ((random as u64 * ports as u64) >> 32) as u32;
    node.port = (port as u16).to_be() as u64;
    ports != 0
}
