//! Routes to VIPs that no interface owns, so that `ip addr` does not show them. They are in the table local, which the
//! kernel looks at before all others.
//!
//! Each dataplane has its own, told by the protocol and the priority: they may be there at the same time, and the one
//! of the lower priority number is taken.

use std::{collections::BTreeMap, io, net::IpAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType},
};
use rustix::io::Errno;

use super::{
    is,
    routes::{LOOPBACK, bits, family, ip, is_without_family, mtu, source},
    rtnl::Rtnl,
};

/// RT_TABLE_LOCAL, include/uapi/linux/rtnetlink.h.
const TABLE: u8 = 255;

/// The routes of one dataplane.
#[derive(Clone, Copy, Debug)]
pub struct VipRoutes {
    /// Marks a route as its own: rtm_protocol says who made a route, rtnetlink(7).
    pub protocol: u8,
    /// No other route has it, so that replacing one never replaces the one that the kernel makes for an address.
    pub priority: u32,
    /// What an IPv4 route does. An IPv6 route always delivers: the kernel refuses others by the loopback interface.
    pub ipv4: Delivery,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is this node's own: `local VIP dev lo`. It may not come from the VIP.
    Local,
    /// It leaves by the loopback interface: `VIP dev lo scope link`. What comes back from the VIP by that interface comes
    /// from where the route leads to, and is taken, even with a strict rp_filter.
    Link,
}

/// What a route says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipRoute {
    /// The source address of the node's own connections to the VIP. That would be the VIP itself otherwise, where the
    /// route delivers, and no backend could answer it.
    pub source: Option<IpAddr>,
    /// The longest packet to it.
    pub mtu: Option<u32>,
}

/// Why a route was not made.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The kernel has no IPv6, or it is disabled on the loopback interface.
    #[error(
        "make the route to {vip}: IPv6 is disabled (hint: set net.ipv6.conf.lo.disable_ipv6 and \
         net.ipv6.conf.all.disable_ipv6 to 0, or use an IPv4 VIP)"
    )]
    Ipv6Disabled {
        /// The VIP.
        vip: IpAddr,
    },
    /// Anything else.
    #[error("make the route to {vip}{}", hint(source))]
    Io {
        /// The VIP.
        vip: IpAddr,
        /// The cause.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if is(error, Errno::INVAL) {
        " (hint: the source that it names is no address of this node, or not yet)"
    } else if is(error, Errno::NETDOWN) {
        " (hint: the loopback interface is down: ip link set lo up)"
    } else if is(error, Errno::PERM) {
        " (hint: run as root, or grant CAP_NET_ADMIN)"
    } else {
        ""
    }
}

impl VipRoutes {
    /// The routes that are there.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn observe(&self) -> io::Result<BTreeMap<IpAddr, VipRoute>> {
        let mut rtnl = Rtnl::open()?;
        let mut routes = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header = RouteHeader {
                address_family: family,
                table: TABLE,
                protocol: RouteProtocol::Other(self.protocol),
                kind: self.kind(family),
                ..RouteHeader::default()
            };
            let answers = match rtnl.dump(&RouteNetlinkMessage::GetRoute(filter)) {
                Ok(answers) => answers,
                // No such table, no such family: no routes in it.
                Err(e) if is(&e, Errno::NOENT) || is_without_family(&e) => continue,
                Err(e) => return Err(e),
            };
            routes.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) if self.is_own(&route, family) => read(&route),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Makes the route to a VIP, or gives it another source or size, without a moment in between.
    ///
    /// # Errors
    /// Without IPv6 for an IPv6 VIP; when the kernel refuses, as it does a source that is no address of this node, or is
    /// silent.
    pub fn set(&self, vip: IpAddr, route: VipRoute) -> Result<(), RouteError> {
        let mut message = self.route(vip);
        let source = route.source.map(|source| RouteAttribute::PrefSource(source.into()));
        let metrics = route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        message.attributes.extend(source.into_iter().chain(metrics));
        let asked = Rtnl::open().and_then(|mut rtnl| {
            rtnl.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
        });
        match asked {
            Ok(_) => Ok(()),
            // EACCES: disable_ipv6, net/ipv6/route.c. The other two: a kernel without IPv6, or one started with
            // ipv6.disable=1.
            Err(e) if vip.is_ipv6() && (is(&e, Errno::ACCESS) || is_without_family(&e)) => {
                Err(RouteError::Ipv6Disabled { vip })
            }
            Err(source) => Err(RouteError::Io { vip, source }),
        }
    }

    /// Removes the route to a VIP; another's stays. None there is as good.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn remove(&self, vip: IpAddr) -> io::Result<()> {
        match Rtnl::open()?.ask(RouteNetlinkMessage::DelRoute(self.route(vip)), 0) {
            Ok(_) => Ok(()),
            Err(e) if is(&e, Errno::SRCH) || (vip.is_ipv6() && is_without_family(&e)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// What all routes have in common, and what tells one from another.
    fn route(&self, vip: IpAddr) -> RouteMessage {
        let mut route = RouteMessage::default();
        let kind = self.kind(family(vip));
        route.header = RouteHeader {
            address_family: family(vip),
            destination_prefix_length: bits(vip),
            table: TABLE,
            protocol: RouteProtocol::Other(self.protocol),
            scope: if kind == RouteType::Local { RouteScope::Host } else { RouteScope::Link },
            kind,
            ..RouteHeader::default()
        };
        route.attributes = vec![
            RouteAttribute::Destination(vip.into()),
            RouteAttribute::Oif(LOOPBACK),
            RouteAttribute::Priority(self.priority),
        ];
        route
    }

    fn kind(&self, family: AddressFamily) -> RouteType {
        match self.ipv4 {
            Delivery::Link if family == AddressFamily::Inet => RouteType::Unicast,
            Delivery::Link | Delivery::Local => RouteType::Local,
        }
    }

    /// The kernel filters; one that did not is not believed.
    fn is_own(&self, route: &RouteMessage, family: AddressFamily) -> bool {
        route.header.address_family == family
            && route.header.table == TABLE
            && route.header.protocol == RouteProtocol::Other(self.protocol)
            && route.header.kind == self.kind(family)
    }
}

fn read(route: &RouteMessage) -> Option<(IpAddr, VipRoute)> {
    let vip = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })?;
    let said = VipRoute { source: source(route), mtu: mtu(route) };
    (route.header.destination_prefix_length == bits(vip)).then_some((vip, said))
}
