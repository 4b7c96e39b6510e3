//! What is known of a node that packets are translated on.

use std::net::IpAddr;

/// What the packet dataplane meets on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketFacts {
    /// Names and patterns in `packet.interfaces` that no interface has.
    pub unmatched: Vec<String>,
    /// How many interfaces there are beyond those that are followed.
    pub left_out: usize,
    /// Interfaces by which backends are reached.
    pub uplinks: Vec<String>,
    /// Others whose packets to a VIP are taken.
    pub facing: Vec<String>,
    /// Backends without a route to them.
    pub unreachable: Vec<IpAddr>,
    /// Settings of sysctl(8) that are 0 and keep the kernel from forwarding packets of the VIPs' families.
    pub not_forwarding: Vec<String>,
    /// The first and the last of the ports that connections get on their way.
    pub ports: (u32, u32),
    /// Whether the node's own connections may be given them too.
    pub ports_are_shared: bool,
    /// Interfaces between which XDP takes packets, or would.
    pub wires: Vec<String>,
    /// Interfaces that `packet.xdp` names and on which it is not used, each with the reason.
    pub no_xdp: Vec<String>,
    /// Programs of others that run before ours, or would, each with its place.
    pub foreign_before: Vec<String>,
}
