//! What a socket was connected to, kept in the socket itself.

use core::ptr;

use aya_ebpf::programs::SockAddrContext;
use lb_common::{
    Endpoint,
    socket::{Settings, TRACK_CONNECTING, Track},
};

use crate::{choose::add, maps::TRACKS};

/// Remembers a choice. The record is filled in place: a value on the stack would be copied by `memcpy`.
///
/// A socket without a record (no memory; some kernels on machines without cmpxchg16b) is balanced all the same: it
/// only shows its backend's address in getpeername(), and is not counted as established.
///
/// # Safety
/// `settings` and `backend` come from a map lookup.
#[inline(always)]
pub unsafe fn remember(
    ctx: &SockAddrContext,
    vip: &Endpoint,
    backend: &Endpoint,
    index: u32,
    settings: *mut Settings,
) {
    // SAFETY: the context's socket is valid for the call; the kernel zeroes a new record.
    let track = unsafe { TRACKS.get_or_insert_ptr_mut(ctx, None) };
    // SAFETY: not null, so a record of this socket.
    let Some(track) = (unsafe { track.as_mut() }) else {
        // SAFETY: the caller's.
        unsafe { add(&raw mut (*settings).untracked, 1) };
        return;
    };
    vip.store(&mut track.vip);
    backend.store(&mut track.backend);
    track.index = index;
    track.state = TRACK_CONNECTING;
}

/// The VIP, if the socket's present peer is the backend that was chosen for it. Sockets are reused: a record alone
/// proves nothing.
#[inline(always)]
pub fn vip_of_peer(ctx: &SockAddrContext, peer: &Endpoint) -> Option<Endpoint> {
    // SAFETY: the context's socket is valid for the call.
    let track: *const Track = unsafe { TRACKS.get_ptr_mut(ctx) };
    // SAFETY: null or a record of this socket.
    let track = unsafe { track.as_ref() }?;
    // SAFETY: a word-wise read of an aligned field.
    track.backend.is(peer).then(|| unsafe { ptr::read(&raw const track.vip) })
}
