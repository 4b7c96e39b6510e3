//! The maps of the packet dataplane, beside those that it has in common with the socket dataplane
//! ([`crate::socket`]: VIPS, SERVICES, SETS, BACKENDS).
//!
//! ```text
//! OPENING       LRU hash  ClientKey -> NodeKey   connections that are being made
//! OPENING_FLOWS LRU hash  NodeKey -> Flow
//! OPEN          LRU hash  ClientKey -> NodeKey   connections that both sides have agreed to
//! OPEN_FLOWS    LRU hash  NodeKey -> Flow
//! WAYS          array     Member::backend -> Way how the node reaches each backend
//! RULES         array     0 -> Rules
//! TALLY         array     a `DROP_` or `TALLY_` constant -> u64
//! WIRES         hash      u64 -> Wire            interfaces between which XDP takes packets, by their numbers
//! FAST          array     0 -> u64               packets that XDP took, for each processor
//! ```
//! A connection is known by two keys: what its client sees, and what its backend sees. On its way it has a source port of
//! the node's own choice, which no other connection to that backend has and which lies where the node's sockets do not
//! begin theirs: so what comes back is told from all foreign traffic by two comparisons.
//!
//! Those that are being made have tables of their own: a flood of SYNs displaces nothing but other SYNs.

use crate::{Address, Endpoint, socket::MAX_BACKENDS};

/// The version of everything in this file, part of the path under which the maps are pinned.
pub const LAYOUT_VERSION: u32 = 1;

/// Connections that are being made, all together.
pub const MAX_OPENING: u32 = 8192;
/// Connections of the socket dataplane that were sent to another backend, all together: those of a node that lost a master
/// under load, many times over.
pub const MAX_RESCUED: u32 = 4096;
/// Connections, unless configured otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 16384;

/// A connection as its client sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// Whence.
    pub client: Endpoint,
    /// Whither, as far as the client knows: the VIP.
    pub vip: Endpoint,
}

/// A connection as its backend sees it, the node's address aside.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeKey {
    /// Whither in truth.
    pub backend: Endpoint,
    /// The source port of the node's choice, in network order.
    pub port: u64,
}

/// A connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Whence.
    pub client: Endpoint,
    /// The VIP; for a rescued connection the backend that it was meant for.
    pub vip: Endpoint,
    /// The address that the backend sees; the client's own where nothing is masqueraded.
    pub source: Address,
    /// The index in `BACKENDS` and `WAYS`.
    pub index: u32,
    /// `FLOW_` bits.
    pub state: u32,
    /// When its first packet came, in ns of CLOCK_MONOTONIC.
    pub begun: u64,
    /// When a packet last came, within [`SEEN_STEP_NS`].
    pub seen: u64,
    /// The sequence number that the client expects next, in the machine's order.
    pub to_client: u32,
    /// The sequence number that the backend expects next.
    pub to_backend: u32,
    /// How many backends were tried before this one; of a rescued connection the one that it was meant for is not counted.
    pub tries: u16,
    /// The index of the backend that was tried first, plus 1; 0: this one was.
    pub first: u16,
    /// The interface that the client's packets come in by; 0: the client is a process of this node.
    pub ifindex: u32,
    /// When a segment last came from the backend, in ns of CLOCK_MONOTONIC. Those that pass by the stack do not count.
    pub heard: u64,
}

/// [`Flow::state`]: the backend has answered.
pub const FLOW_ANSWERED: u32 = 1;
/// [`Flow::state`]: the client's side is done, by a FIN.
pub const FLOW_CLIENT_DONE: u32 = 2;
/// [`Flow::state`]: the backend's side is done, by a FIN.
pub const FLOW_BACKEND_DONE: u32 = 4;
/// [`Flow::state`]: one of them has sent a RST.
pub const FLOW_RESET: u32 = 8;
/// [`Flow::state`]: the client is a process of this network namespace.
pub const FLOW_HOST: u32 = 16;
/// [`Flow::state`]: counted in `Backend::active`.
pub const FLOW_COUNTED: u32 = 32;

/// How precise [`Flow::seen`] is.
pub const SEEN_STEP_NS: u64 = 1_000_000_000;

/// How the node reaches a backend. All zero: not at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The node's address towards it.
    pub source: Address,
    /// The interface towards it; the loopback interface where it is on the node itself.
    pub ifindex: u32,
    /// 1: it is on the node itself.
    pub local: u16,
    /// 1: what comes back by this interface to processes of the node is received there; 0: by the loopback interface.
    pub in_place: u8,
    /// 1: it is a neighbour, with no router between.
    pub on_link: u8,
}

/// An interface between which and others XDP takes packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Its link-layer address, in the order of its bytes; the last two are zero.
    pub mac: u64,
    /// `WIRE_` bits.
    pub can: u64,
}

/// [`Wire::can`]: send what came in by another interface (NETDEV_XDP_ACT_NDO_XMIT, include/uapi/linux/netdev.h).
pub const WIRE_SENDS: u64 = 1;
/// [`Wire::can`]: send back what came in by itself (XDP_TX).
pub const WIRE_RETURNS: u64 = 2;

/// Entries of `WIRES`.
pub const MAX_WIRES: u32 = 256;

/// What the programs are told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The first of the ports that connections get on their way, in the machine's order.
    pub first_port: u32,
    /// How many there are; 0: none is given, no new connection is made.
    pub ports: u32,
    /// 1: new connections are taken; 0: packets to a VIP that belong to none pass untouched.
    pub takes: u32,
    /// 1: those of other network namespaces and machines too; 0: refused.
    pub forwards: u32,
    /// 1: the backends see the node's address.
    pub masquerades: u32,
    /// 1: a SYN that is not answered, or refused, is sent to another backend.
    pub rescues: u32,
    /// 1: segments of open connections that are forwarded pass by the stack.
    pub shortens: u32,
    /// 0. An element takes a multiple of eight bytes.
    pub reserved: u32,
}

/// Packets dropped: nobody serves; the client got a RST.
pub const DROP_NO_BACKEND: u32 = 0;
/// Packets dropped: for a VIP, but of no connection that is known; the client got a RST.
pub const DROP_UNKNOWN: u32 = 1;
/// Packets dropped: a fragment for a VIP.
pub const DROP_FRAGMENT: u32 = 2;
/// Packets dropped: a TCP header whose length makes no sense.
pub const DROP_MALFORMED: u32 = 3;
/// Packets dropped: no source port free towards the backend, or no memory.
pub const DROP_FULL: u32 = 4;
/// Packets dropped: no way to the backend.
pub const DROP_NO_WAY: u32 = 5;
/// Packets dropped: from another network namespace or machine, which the scope leaves out; the client got a RST.
pub const DROP_SCOPE: u32 = 6;
/// Packets dropped: an answer of a backend that has been given up meanwhile: a refusal that was not passed on, or one
/// that came too late.
pub const DROP_GIVEN_UP: u32 = 7;

/// Connections that were begun.
pub const TALLY_BEGUN: u32 = 8;
/// Connections that both sides have agreed to.
pub const TALLY_OPENED: u32 = 9;
/// Connections that were sent to another backend before they were answered.
pub const TALLY_RESCUED: u32 = 10;
/// Connections that were taken out of the table: what is neither there nor counted here was displaced by others.
pub const TALLY_ENDED: u32 = 11;
/// Entries of `TALLY`. One element for each: an index into one that all share would be refused without CAP_PERFMON.
pub const TALLIES: u32 = 16;

/// Entries of `WAYS`.
pub const MAX_WAYS: u32 = MAX_BACKENDS;

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "marker trait for plain data")]
    use super::{ClientKey, Flow, NodeKey, Wire};

    // SAFETY: repr(C), integers only, no padding, any bit pattern is valid.
    unsafe impl aya::Pod for ClientKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for NodeKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Flow {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Wire {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_layout_has_padding() {
        assert_eq!(size_of::<ClientKey>(), 48);
        assert_eq!(size_of::<NodeKey>(), 32);
        assert_eq!(size_of::<Flow>(), 24 + 24 + 16 + 8 + 16 + 16 + 8);
        assert_eq!(size_of::<Way>(), 24);
        assert_eq!(size_of::<Rules>(), 32);
        assert_eq!(size_of::<Wire>(), 16);
    }

    #[test]
    fn every_backend_can_be_the_first() {
        assert!(MAX_BACKENDS < u32::from(u16::MAX));
    }
}
