//! The life of a connection, as far as it is counted or told: established, sent again, refused, closed.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT,
    },
    helpers::generated::bpf_sk_storage_get,
    programs::SockOpsContext,
};
use lb_common::socket::{
    SIGNAL_REFUSED, SIGNAL_RETRANSMITTED, TRACK_CLOSED, TRACK_CONNECTING, TRACK_ESTABLISHED, TRACK_SENT_ON,
    Track,
};
use lb_common::{Address, Endpoint};

use crate::{
    choose::add,
    maps::{BACKENDS, SYN_JIFFIES, TRACKS},
    patience, rescue, signal,
};

/// What a connection of ours calls back for.
const WATCHED: u32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG;

/// `BPF_TCP_CLOSE`, include/uapi/linux/bpf.h.
const TCP_CLOSE: u32 = 7;

/// Takes one event of a socket. Sockets that we did not connect have no record and cost one lookup.
#[inline(always)]
pub fn follow<const RESCUES: bool>(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if record(ctx).is_some() {
                let flags = ctx.cb_flags() | WATCHED;
                // A socket that cannot be followed is balanced all the same; it only is not counted.
                let _ = ctx.set_cb_flags(flags as i32);
            }
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if let Some(track) = record(ctx) {
                patience::unbound(ctx, track);
                established(track);
            }
        }
        BPF_SOCK_OPS_TIMEOUT_INIT => {
            if record(ctx).is_some() {
                ctx.set_reply(SYN_JIFFIES.load());
            }
        }
        BPF_SOCK_OPS_RTO_CB | BPF_SOCK_OPS_RETRANS_CB => {
            if let Some(track) = record(ctx) {
                let is_sent_on = track.state == TRACK_SENT_ON;
                if is_sent_on {
                    track.state = TRACK_CONNECTING;
                }
                patience::bound(ctx, track);
                signal::send(track, SIGNAL_RETRANSMITTED);
                // What is sent next, after this call, is the SYN once more.
                if RESCUES && ctx.op() == BPF_SOCK_OPS_RTO_CB && !is_sent_on && rescue::is_unanswered(track) {
                    let _ = rescue::begin(&own(ctx, track), track);
                }
            }
        }
        BPF_SOCK_OPS_STATE_CB => {
            if ctx.arg(1) == TCP_CLOSE
                && let Some(track) = record(ctx)
            {
                closed(ctx, track);
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn record(ctx: &SockOpsContext) -> Option<&'static mut Track> {
    // SAFETY: the verifier vouches for the context; a null socket is refused by the check below, as it demands.
    unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let map = (&raw const TRACKS).cast_mut().cast();
        bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0).cast::<Track>().as_mut()
    }
}

/// The socket's own end.
#[inline(always)]
fn own(ctx: &SockOpsContext, track: &Track) -> Endpoint {
    // In the machine's order, unlike the peer's.
    let port = (ctx.local_port() as u16).to_be() as u32;
    let address = if track.backend.address().is_v4() {
        Address::from_v4_word(ctx.local_ip4())
    } else {
        Address::from_v6_words(local_ip6(ctx))
    };
    Endpoint::new(address, port)
}

/// Word by word: the kernel gives access to no more than one at a time.
#[inline(always)]
fn local_ip6(ctx: &SockOpsContext) -> [u32; 4] {
    // SAFETY: the verifier vouches for the context and its fields.
    let word = |at: usize| unsafe { (&raw const (*ctx.ops).local_ip6).cast::<u32>().add(at).read_volatile() };
    [word(0), word(1), word(2), word(3)]
}

#[inline(always)]
fn established(track: &mut Track) {
    if !rescue::is_unanswered(track) {
        return;
    }
    track.state = TRACK_ESTABLISHED;
    if let Some(backend) = BACKENDS.get_ptr_mut(track.index) {
        // SAFETY: a pointer that the lookup returned.
        unsafe { add(&raw mut (*backend).active, 1) };
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext, track: &mut Track) {
    let state = track.state;
    track.state = TRACK_CLOSED;
    let Some(backend) = BACKENDS.get_ptr_mut(track.index) else {
        return;
    };
    // SAFETY: a pointer that the lookup returned; the verifier vouches for the context.
    unsafe {
        if state == TRACK_ESTABLISHED {
            add(&raw mut (*backend).active, u64::MAX);
        } else if rescue::is_unanswered_state(state) && (*ctx.ops).segs_in == 1 {
            // Exactly one segment came in, and it closed the socket: a RST. A give-up has none.
            add(&raw mut (*backend).refused, 1);
            signal::send(track, SIGNAL_REFUSED);
        }
    }
}
