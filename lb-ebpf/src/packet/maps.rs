//! The maps, named as in `lb_common::socket` and `lb_common::packet`.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use lb_common::{
    Endpoint,
    packet::{
        ClientKey, DEFAULT_CONNECTIONS, Flow, MAX_OPENING, MAX_WAYS, MAX_WIRES, NodeKey, Rules, TALLIES, Way,
        Wire,
    },
    socket::{Backend, MAX_BACKENDS, MAX_SERVICES, Service, Set},
};

use crate::{
    nat::Packet,
    straight::{Hint, PLACES},
};

/// A slot for each VIP.
#[map]
pub static VIPS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_SERVICES + 1, 0);

#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, BPF_F_MMAPABLE);

#[map]
pub static SETS: Array<Set> = Array::with_max_entries(2 * MAX_SERVICES, BPF_F_MMAPABLE);

#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);

#[map]
pub static WAYS: Array<Way> = Array::with_max_entries(MAX_WAYS, BPF_F_MMAPABLE);

#[map]
pub static RULES: Array<Rules> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static TALLY: Array<u64> = Array::with_max_entries(TALLIES, BPF_F_MMAPABLE);

#[map]
pub static OPENING: LruHashMap<ClientKey, NodeKey> = LruHashMap::with_max_entries(MAX_OPENING, 0);

#[map]
pub static OPENING_FLOWS: LruHashMap<NodeKey, Flow> = LruHashMap::with_max_entries(MAX_OPENING, 0);

/// The loader sets the size.
#[map]
pub static OPEN: LruHashMap<ClientKey, NodeKey> = LruHashMap::with_max_entries(DEFAULT_CONNECTIONS, 0);

/// The loader sets the size.
#[map]
pub static OPEN_FLOWS: LruHashMap<NodeKey, Flow> = LruHashMap::with_max_entries(DEFAULT_CONNECTIONS, 0);

#[map]
pub static WIRES: HashMap<u64, Wire> = HashMap::with_max_entries(MAX_WIRES, 0);

#[map]
pub static FAST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where a flow is put together: it is too large for the stack. Programs on TC run with bottom halves disabled, so one that
/// runs on this processor is over before the next begins.
#[map]
pub static SCRATCH: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// What was read of the packet. Whatever way it was read in, of what comes out of a map the verifier knows the same, that is
/// nothing: so it goes on from here once, and comes to an end without CAP_PERFMON.
#[map]
pub static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);

/// Where to look first for a connection of the node's own.
#[map]
pub static HINTS: Array<Hint> = Array::with_max_entries(PLACES, 0);
