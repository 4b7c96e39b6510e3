//! The maps, named as in `lb_common::socket`.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use lb_common::{
    Endpoint,
    packet::{ClientKey, Flow, MAX_RESCUED, MAX_WAYS, NodeKey, Rules, TALLIES, Way},
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

/// As the packet dataplane's WAYS, for the backends of this one.
#[map]
pub static RESCUE_WAYS: Array<Way> = Array::with_max_entries(MAX_WAYS, BPF_F_MMAPABLE);

/// As the packet dataplane's RULES; only the ports and `rescues` are read.
#[map]
pub static RESCUE_RULES: Array<Rules> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As the packet dataplane's TALLY.
#[map]
pub static RESCUE_TALLY: Array<u64> = Array::with_max_entries(TALLIES, BPF_F_MMAPABLE);

/// Connections that were sent to another backend; what stands for the VIP is the backend that they were meant for.
#[map]
pub static RESCUED: LruHashMap<ClientKey, NodeKey> = LruHashMap::with_max_entries(MAX_RESCUED, 0);

#[map]
pub static RESCUED_FLOWS: LruHashMap<NodeKey, Flow> = LruHashMap::with_max_entries(MAX_RESCUED, 0);

/// Where a flow is put together: it is too large for the stack. Programs that use it run with bottom halves disabled, one after
/// the other on each processor.
#[map]
pub static RESCUE_SCRATCH: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);
