//! The decision: where does this connect() go?

use core::ptr;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_netns_cookie, programs::SockAddrContext};
use lb_common::{
    Endpoint,
    socket::{PROOF_SLOT, Settings},
};

use crate::{
    choose::{add, choose},
    maps::{SETTINGS, VIPS},
    track,
};

/// `SOCK_STREAM`, socket(2).
const SOCK_STREAM: u32 = 1;
/// `IPPROTO_TCP`, ip(7).
const IPPROTO_TCP: u32 = 6;

/// Which hook asks.
#[derive(Clone, Copy)]
pub enum Hook {
    /// `BPF_CGROUP_INET4_CONNECT`.
    Connect4,
    /// `BPF_CGROUP_INET6_CONNECT`.
    Connect6,
}

/// What becomes of a connect().
pub enum Verdict {
    /// None of our business.
    Untouched,
    /// The agent's proof that the hook is effective.
    Recorded,
    /// A VIP that no backend serves.
    Refused,
    /// It goes here.
    Backend(Endpoint),
}

/// Decides, counts and tracks; changes nothing in the context.
#[inline(always)]
pub fn connect(ctx: &SockAddrContext, wanted: &Endpoint, hook: Hook) -> Verdict {
    // SAFETY: the verifier vouches for the context and its fields.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return Verdict::Untouched;
    }
    // SAFETY: an element's value is written once, before it is inserted.
    let Some(&slot) = (unsafe { VIPS.get(wanted) }) else {
        return Verdict::Untouched;
    };
    let Some(settings) = SETTINGS.get_ptr_mut(0) else {
        return Verdict::Untouched;
    };
    if slot == PROOF_SLOT {
        record_proof(ctx, settings, hook);
        return Verdict::Recorded;
    }
    if !in_scope(ctx, settings) {
        return Verdict::Untouched;
    }
    let Some((index, backend)) = choose(slot) else {
        return Verdict::Refused;
    };
    // SAFETY: a pointer that the lookup returned, into an array that outlives the program.
    unsafe {
        add(&raw mut (*backend).total, 1);
        track::remember(ctx, wanted, &(*backend).endpoint, index, settings);
        Verdict::Backend((*backend).endpoint)
    }
}

#[inline(always)]
fn in_scope(ctx: &SockAddrContext, settings: *const Settings) -> bool {
    // SAFETY: a pointer that the lookup returned; an aligned word that user space writes whole.
    let cookie = unsafe { ptr::read_volatile(&raw const (*settings).netns_cookie) };
    // SAFETY: the helper takes the context.
    cookie == 0 || cookie == unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn record_proof(ctx: &SockAddrContext, settings: *mut Settings, hook: Hook) {
    // SAFETY: a pointer that the lookup returned; the helper takes the context.
    unsafe {
        (*settings).proof_cookie = bpf_get_netns_cookie(ctx.as_ptr());
        match hook {
            Hook::Connect4 => add(&raw mut (*settings).proofs4, 1),
            Hook::Connect6 => add(&raw mut (*settings).proofs6, 1),
        }
    }
}
