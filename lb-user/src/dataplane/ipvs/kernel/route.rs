//! The routes that make a VIP this node's own without an interface that owns it: `local VIP dev lo table local`.
//!
//! Such a route brings forwarded packets to the hook of local delivery, and the node's own to that of local output;
//! IPVS listens on both.

use std::{collections::BTreeMap, io, net::IpAddr};

use crate::os::netlink::vip_routes::{Delivery, VipRoute, VipRoutes};
pub use crate::os::netlink::{
    routes::{is_local, source_towards},
    vip_routes::RouteError,
};

/// Marks a route as ours. Not among those that include/uapi/linux/rtnetlink.h or iproute2's rt_protos give to others.
pub const PROTOCOL: u8 = 0x6c;

const ROUTES: VipRoutes = VipRoutes { protocol: PROTOCOL, priority: 0x6c, ipv4: Delivery::Local };

/// Our routes: each VIP with the source address that its route names.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn observe() -> io::Result<BTreeMap<IpAddr, Option<IpAddr>>> {
    Ok(ROUTES.observe()?.into_iter().map(|(vip, route)| (vip, route.source)).collect())
}

/// Makes the route to a VIP, or gives it another source, without a moment in between.
///
/// # Errors
/// As [`VipRoutes::set`].
pub fn set(vip: IpAddr, source: Option<IpAddr>) -> Result<(), RouteError> {
    ROUTES.set(vip, VipRoute { source, mtu: None })
}

/// Removes our route to a VIP; another's stays. None there is as good.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn remove(vip: IpAddr) -> io::Result<()> {
    ROUTES.remove(vip)
}
