//! The table of connections: found, begun, agreed to, done.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use lb_common::{
    Address, Endpoint,
    packet::{
        ClientKey, FLOW_ANSWERED, FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_COUNTED, FLOW_RESET, Flow,
        NodeKey, Rules, SEEN_STEP_NS, TALLY_ENDED, TALLY_OPENED,
    },
};

use crate::{
    choose::add,
    maps::{BACKENDS, OPEN, OPEN_FLOWS, OPENING, OPENING_FLOWS, SCRATCH},
    nat::{FIN, RST, SYN, Segment},
    verdict::count,
};

/// What came from the backend no longer ago is what an acknowledgement answers.
const JUST_NOW_NS: u64 = 2_000_000;

/// BPF_NOEXIST, include/uapi/linux/bpf.h.
const NEW_ONLY: u64 = 1;

/// Which of the two tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Being made.
    Opening,
    /// Agreed to.
    Open,
}

/// A connection that was found.
#[derive(Clone, Copy)]
pub struct Found {
    pub flow: *mut Flow,
    pub stage: Stage,
}

/// Whether a port is of those that connections get on their way.
#[inline(always)]
pub fn is_ours(port: u16, rules: *const Rules) -> bool {
    // SAFETY: a pointer that the lookup returned; aligned words.
    let (first, ports) = unsafe { ((*rules).first_port, (*rules).ports) };
    (port as u32).wrapping_sub(first) < ports
}

/// The connection that a backend knows by this port of the node's.
#[inline(always)]
pub fn by_node(key: &NodeKey) -> Option<Found> {
    if let Some(flow) = OPEN_FLOWS.get_ptr_mut(key) {
        return Some(Found { flow, stage: Stage::Open });
    }
    OPENING_FLOWS.get_ptr_mut(key).map(|flow| Found { flow, stage: Stage::Opening })
}

/// The connection that a client knows by these ends, and its other key. Not an `Option`: of `None` the compiler leaves the rest
/// undefined, and may move it about, which the verifier does not let it do.
#[inline(always)]
pub fn by_client(key: &ClientKey, node: &mut NodeKey) -> MaybeFound {
    if let Some(known) = OPEN.get_ptr(key) {
        copy(known, node);
        let flow = OPEN_FLOWS.get_ptr_mut(&*node).unwrap_or(ptr::null_mut());
        return MaybeFound { flow, stage: Stage::Open };
    }
    let Some(known) = OPENING.get_ptr(key) else {
        return MaybeFound { flow: ptr::null_mut(), stage: Stage::Opening };
    };
    copy(known, node);
    let flow = OPENING_FLOWS.get_ptr_mut(&*node).unwrap_or(ptr::null_mut());
    MaybeFound { flow, stage: Stage::Opening }
}

/// A connection, unless the pointer is null.
#[derive(Clone, Copy)]
pub struct MaybeFound {
    flow: *mut Flow,
    stage: Stage,
}

impl MaybeFound {
    /// The connection, if there is one.
    #[inline(always)]
    pub fn get(self) -> Option<Found> {
        (!self.flow.is_null()).then_some(Found { flow: self.flow, stage: self.stage })
    }
}

#[inline(always)]
fn copy(from: *const NodeKey, to: &mut NodeKey) {
    // SAFETY: a pointer that a lookup returned; words one by one.
    unsafe {
        (*from).backend.store(&mut to.backend);
        to.port = (*from).port;
    }
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
    // A flood may have taken a third of the ports: of so many tries one in thousands fails.
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

/// As [`enter`], but the port of a connection that both sides are done with will do: they are kept for a while, and clients that
/// come and go would use up all ports.
#[inline(always)]
fn take_over(node: &mut NodeKey, flow: *const Flow, rules: *const Rules) -> bool {
    if !pick(node, rules) {
        return false;
    }
    if let Some(old) = OPEN_FLOWS.get_ptr_mut(&*node) {
        // SAFETY: a pointer that the lookup returned; words one by one.
        unsafe {
            if !is_over((*old).state) {
                return false;
            }
            let mut client = ClientKey { client: node.backend, vip: node.backend };
            (*old).client.store(&mut client.client);
            (*old).vip.store(&mut client.vip);
            forget(&client, node, &Found { flow: old, stage: Stage::Open });
        }
    }
    // SAFETY: as above.
    OPENING_FLOWS.insert(&*node, unsafe { &*flow }, NEW_ONLY).is_ok()
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

/// Takes a connection out of the table.
#[inline(always)]
pub fn forget(client: &ClientKey, node: &NodeKey, found: &Found) {
    count(TALLY_ENDED);
    match found.stage {
        Stage::Opening => {
            let _ = OPENING.remove(client);
            let _ = OPENING_FLOWS.remove(node);
        }
        Stage::Open => {
            uncount(found.flow);
            let _ = OPEN.remove(client);
            let _ = OPEN_FLOWS.remove(node);
        }
    }
}

/// Moves a connection that both sides have agreed to where no SYN displaces it. `None`: there is no memory.
#[inline(always)]
pub fn open(client: &ClientKey, node: &NodeKey, flow: *mut Flow) -> Option<*mut Flow> {
    // SAFETY: pointers that lookups returned.
    unsafe {
        (*flow).state |= FLOW_COUNTED;
        if OPEN_FLOWS.insert(node, &*flow, 0).is_err() || OPEN.insert(client, node, 0).is_err() {
            return None;
        }
        if let Some(backend) = BACKENDS.get_ptr_mut((*flow).index) {
            add(&raw mut (*backend).active, 1);
        }
    }
    count(TALLY_OPENED);
    let _ = OPENING.remove(client);
    let _ = OPENING_FLOWS.remove(node);
    OPEN_FLOWS.get_ptr_mut(node)
}

/// Follows a segment from the backend.
#[inline(always)]
pub fn answered(flow: *mut Flow, segment: &Segment) {
    let mut news = FLOW_ANSWERED;
    if segment.flags & FIN != 0 {
        news |= FLOW_BACKEND_DONE;
    }
    // SAFETY: a pointer that a lookup returned; aligned words.
    unsafe {
        advance(&raw mut (*flow).to_client, segment);
        (*flow).heard = note(flow, segment, news);
    }
}

/// Follows a segment from the client. Whether it only answers one that has just come from the backend.
#[inline(always)]
pub fn sent(flow: *mut Flow, segment: &Segment) -> bool {
    let mut news = 0;
    if segment.flags & FIN != 0 {
        news |= FLOW_CLIENT_DONE;
    }
    // SAFETY: as above.
    unsafe {
        let has_news = advance(&raw mut (*flow).to_backend, segment);
        let now = note(flow, segment, news);
        !has_news && now.wrapping_sub((*flow).heard) < JUST_NOW_NS
    }
}

/// The end of what was sent; what is sent again does not count. Whether it is further than before.
///
/// # Safety
/// The word is aligned and lives in a map.
#[inline(always)]
pub unsafe fn advance(next: *mut u32, segment: &Segment) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let known = ptr::read_volatile(next);
        let ahead = segment.end.wrapping_sub(known);
        let is_further =
            segment.flags & RST == 0 && (segment.flags & SYN != 0 || (ahead != 0 && ahead < 1 << 31));
        if is_further {
            ptr::write_volatile(next, segment.end);
        }
        is_further
    }
}

/// When it came.
#[inline(always)]
fn note(flow: *mut Flow, segment: &Segment, mut news: u32) -> u64 {
    if segment.flags & RST != 0 {
        news |= FLOW_RESET;
    }
    // SAFETY: a pointer that a lookup returned; aligned words. Two processors may write at once: one of the bits may have to
    // come with the next packet.
    unsafe {
        let now = bpf_ktime_get_ns();
        if now.wrapping_sub((*flow).seen) > SEEN_STEP_NS {
            (*flow).seen = now;
        }
        let state = (*flow).state;
        if state | news != state {
            (*flow).state = state | news;
        }
        if is_over((*flow).state) {
            uncount(flow);
        }
        now
    }
}

/// Of [`Flow::state`]: a side is done, or has broken it off.
pub const AT_ITS_END: u32 = FLOW_CLIENT_DONE | FLOW_BACKEND_DONE | FLOW_RESET;

/// Whether both sides are done.
#[inline(always)]
pub fn is_over(state: u32) -> bool {
    let done = FLOW_CLIENT_DONE | FLOW_BACKEND_DONE;
    state & FLOW_RESET != 0 || state & done == done
}

#[inline(always)]
fn uncount(flow: *mut Flow) {
    // SAFETY: a pointer that a lookup returned.
    unsafe {
        let state = (*flow).state;
        if state & FLOW_COUNTED == 0 {
            return;
        }
        (*flow).state = state & !FLOW_COUNTED;
        if let Some(backend) = BACKENDS.get_ptr_mut((*flow).index) {
            add(&raw mut (*backend).active, u64::MAX);
        }
    }
}
