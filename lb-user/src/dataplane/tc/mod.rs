//! Programs on network interfaces: where they hang, and the routes that lead the node's own packets to them.

mod pattern;

use crate::os::netlink::vip_routes::{Delivery, VipRoutes};

pub use pattern::Pattern;

/// The routes to the VIPs that bring the node's own packets to the programs on the loopback interface. They differ from
/// those of the IPVS dataplane in protocol and priority. Both may be there while one takes over from the other; this one
/// is taken as long as it is there.
///
/// What that means in the while that both are there:
/// - Packets of other namespaces and machines: where a program takes them at their interface, it does so before the
///   routing tables are asked. An IPv4 packet that no program takes leaves by the loopback interface and comes to
///   nothing: IPVS, which listens where packets are delivered, does not see it. An IPv6 packet is delivered either way.
/// - The node's own packets pass IPVS first, whose hook for them lies before the interface, and with it the nftables
///   table of the IPVS dataplane. A connection that IPVS knows goes on, whichever route is taken. A connection that the
///   programs made goes on too: IPVS lets packets pass that begin no connection and belong to none that it knows.
pub const ROUTES: VipRoutes = VipRoutes { protocol: 0x6d, priority: 0x6b, ipv4: Delivery::Link };
