//! The maps, named as in `lb_common::socket`.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, RingBuf},
};
use lb_common::{
    Endpoint,
    socket::{Backend, MAX_BACKENDS, MAX_SERVICES, SIGNALS_BYTES, Service, Set, Settings, Track},
};

/// Whether the kernel has `bpf_set_retval` (5.18). Set by the loader; where it is 0 the verifier never sees the call.
#[unsafe(no_mangle)]
pub static HAS_SET_RETVAL: Global<u8> = Global::new(0);

/// How long an unanswered SYN waits before it is sent again, in jiffies; 0: as the kernel has it. Set by the loader.
#[unsafe(no_mangle)]
pub static SYN_JIFFIES: Global<u32> = Global::new(0);

/// A slot for each VIP, and one entry for the proof address.
#[map]
pub static VIPS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_SERVICES + 1, 0);

#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, BPF_F_MMAPABLE);

#[map]
pub static SETS: Array<Set> = Array::with_max_entries(2 * MAX_SERVICES, BPF_F_MMAPABLE);

#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);

#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static SIGNALS: RingBuf = RingBuf::with_byte_size(SIGNALS_BYTES, 0);

#[btf_map]
pub static TRACKS: SkStorage<Track> = SkStorage::new();
