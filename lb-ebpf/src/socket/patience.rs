//! How long a connect() waits for a host that does not answer. Begun when the first SYN has been in vain, so that a connect()
//! that is answered pays nothing for it.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_getsockopt, bpf_setsockopt},
    programs::SockOpsContext,
};
use lb_common::socket::{CONNECT_TIMEOUT_MS, TRACK_CONNECTING, TRACK_WAITING, Track};

/// IPPROTO_TCP, and TCP_USER_TIMEOUT of include/uapi/linux/tcp.h.
const SOL_TCP: i32 = 6;
const TCP_USER_TIMEOUT: i32 = 18;

/// Bounds a connect() that has no bound of its own, once. Kernels that cannot tell whether it has one leave it as it is.
#[inline(always)]
pub fn bound(ctx: &SockOpsContext, track: &mut Track) {
    if track.state != TRACK_CONNECTING {
        return;
    }
    track.state = TRACK_WAITING;
    if user_timeout(ctx.as_ptr()) == Some(0) {
        set_user_timeout(ctx.as_ptr(), CONNECT_TIMEOUT_MS);
    }
}

/// Takes the bound away again, where there is one: an established connection may be silent for longer.
#[inline(always)]
pub fn unbound(ctx: &SockOpsContext, track: &Track) {
    if track.state == TRACK_WAITING && user_timeout(ctx.as_ptr()) == Some(CONNECT_TIMEOUT_MS) {
        set_user_timeout(ctx.as_ptr(), 0);
    }
}

#[inline(always)]
fn user_timeout(ctx: *mut c_void) -> Option<u32> {
    let mut value = 0_u32;
    // SAFETY: the verifier vouches for the context; the value has the length that is told.
    let read = unsafe {
        bpf_getsockopt(ctx, SOL_TCP, TCP_USER_TIMEOUT, (&raw mut value).cast(), size_of::<u32>() as i32)
    };
    (read == 0).then_some(value)
}

#[inline(always)]
fn set_user_timeout(ctx: *mut c_void, mut millis: u32) {
    // SAFETY: as above. A kernel that does not take it leaves the connect() as it is.
    let _ = unsafe {
        bpf_setsockopt(ctx, SOL_TCP, TCP_USER_TIMEOUT, (&raw mut millis).cast(), size_of::<u32>() as i32)
    };
}
