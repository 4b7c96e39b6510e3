//! Telling the agent what befalls connections: refused, or sent again because nobody acknowledged it.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::socket::{SIGNAL_PACE_NS, Signal, Track};

use crate::maps::{BACKENDS, SIGNALS};

/// Sends a signal, unless one of that backend was sent a moment ago or nobody reads them.
#[inline(always)]
pub fn send(track: &Track, kind: u64) {
    let Some(backend) = BACKENDS.get_ptr_mut(track.index) else {
        return;
    };
    // SAFETY: a pointer that the lookup returned; an aligned word. Two processors may both find it old: then both send.
    unsafe {
        let signalled = &raw mut (*backend).signalled;
        let now = bpf_ktime_get_ns();
        if now.wrapping_sub(ptr::read_volatile(signalled)) < SIGNAL_PACE_NS {
            return;
        }
        ptr::write_volatile(signalled, now);
    }
    let Some(mut entry) = SIGNALS.reserve::<Signal>(0) else {
        return;
    };
    let signal = entry.as_mut_ptr();
    // SAFETY: reserved memory of that size, filled word by word.
    unsafe {
        track.vip.store(&mut (*signal).vip);
        // Of a connection that was sent to another it is that one.
        (*backend).endpoint.store(&mut (*signal).backend);
        (*signal).kind = kind;
    }
    entry.submit(0);
}
