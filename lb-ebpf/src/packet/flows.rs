//! The table of connections: found, begun, agreed to, done.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::packet::{
    ClientKey, FLOW_ANSWERED, FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_COUNTED, FLOW_RESET, Flow, NodeKey,
    SEEN_STEP_NS, TALLY_ENDED, TALLY_OPENED,
};

use crate::{
    choose::add,
    maps::{BACKENDS, OPEN, OPEN_FLOWS, OPENING, OPENING_FLOWS},
    nat::{FIN, RST, SYN, Segment},
    verdict::count,
};

/// What came from the backend no longer ago is what an acknowledgement answers.
const JUST_NOW_NS: u64 = 2_000_000;

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

/// Takes a connection out of the table.
#[inline(always)]
pub fn forget(client: &ClientKey, node: &NodeKey, found: &Found) {
    count(TALLY_ENDED);
    remove(client, node, found);
}

/// As [`forget`], for one that is displaced.
#[inline(always)]
pub fn remove(client: &ClientKey, node: &NodeKey, found: &Found) {
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

/// Follows a segment from the backend. What neither agrees nor refuses is no answer to a SYN: it speaks of an older connection
/// from the same port, which is not over as far as the backend knows.
#[inline(always)]
pub fn answered(flow: *mut Flow, segment: &Segment) {
    let mut news = 0;
    if segment.flags & (SYN | RST) != 0 {
        news |= FLOW_ANSWERED;
    }
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
    if segment.flags & (FIN | RST) != 0 {
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
