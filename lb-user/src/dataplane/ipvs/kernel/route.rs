//! The routes that make a VIP this node's own without an interface that owns it: `local VIP dev lo table local`.
//!
//! Such a route brings forwarded packets to the hook of local delivery, and the node's own to that of local output;
//! IPVS listens on both. `ip addr` does not show it. It names the source address that the node's own connections to
//! the VIP begin with, which would be the VIP itself otherwise, and which no backend could answer.

use std::{collections::BTreeMap, io, net::IpAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use rustix::io::Errno;

use super::rtnl::{Rtnl, is};

/// Marks a route as ours: rtm_protocol says who made a route, rtnetlink(7). Not among those that
/// include/uapi/linux/rtnetlink.h or iproute2's rt_protos give to others.
pub const PROTOCOL: u8 = 0x6c;
/// No other route has it, so that replacing ours never replaces the one that the kernel makes for an address.
const PRIORITY: u32 = 0x6c;
/// RT_TABLE_LOCAL, include/uapi/linux/rtnetlink.h.
const TABLE: u8 = 255;
/// LOOPBACK_IFINDEX, include/net/flow.h: the same in every network namespace.
const LOOPBACK: u32 = 1;

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

/// Our routes: each VIP with the source address that its route names.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn observe() -> io::Result<BTreeMap<IpAddr, Option<IpAddr>>> {
    let mut rtnl = Rtnl::open()?;
    let mut routes = BTreeMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header = RouteHeader {
            address_family: family,
            table: TABLE,
            protocol: RouteProtocol::Other(PROTOCOL),
            kind: RouteType::Local,
            ..RouteHeader::default()
        };
        let answers = match rtnl.dump(&RouteNetlinkMessage::GetRoute(filter)) {
            Ok(answers) => answers,
            // No such table, no such family: no routes in it.
            Err(e) if is(&e, Errno::NOENT) || is_without_family(&e) => continue,
            Err(e) => return Err(e),
        };
        routes.extend(answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) if is_ours(&route, family) => ours(&route),
            _ => None,
        }));
    }
    Ok(routes)
}

/// Makes the route to a VIP, or gives it another source, without a moment in between.
///
/// # Errors
/// Without IPv6 for an IPv6 VIP; when the kernel refuses, as it does a source that is no address of this node, or is
/// silent.
pub fn set(vip: IpAddr, source: Option<IpAddr>) -> Result<(), RouteError> {
    let mut message = route(vip);
    message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
    let asked = Rtnl::open()
        .and_then(|mut rtnl| rtnl.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE));
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

/// Removes our route to a VIP; another's stays. None there is as good.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn remove(vip: IpAddr) -> io::Result<()> {
    match Rtnl::open()?.ask(RouteNetlinkMessage::DelRoute(route(vip)), 0) {
        Ok(_) => Ok(()),
        Err(e) if is(&e, Errno::SRCH) || (vip.is_ipv6() && is_without_family(&e)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The source address that the kernel would use towards a backend; `None` without a route to it.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn source_towards(backend: IpAddr) -> io::Result<Option<IpAddr>> {
    Ok(look_up(backend)?.as_ref().and_then(source))
}

/// Whether packets to an address are delivered to this node itself.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
    Ok(look_up(address)?.is_some_and(|route| route.header.kind == RouteType::Local))
}

/// The route that the kernel would take.
fn look_up(address: IpAddr) -> io::Result<Option<RouteMessage>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = bits(address);
    message.attributes = vec![RouteAttribute::Destination(address.into())];
    match Rtnl::open()?.ask(RouteNetlinkMessage::GetRoute(message), 0) {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(Some(route)),
        Ok(_) => Ok(None),
        // No route, or one of type unreachable, prohibit or blackhole: the errors of fib_props, net/ipv4/fib_semantics.c.
        Err(e)
            if [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS].iter().any(|errno| is(&e, *errno)) =>
        {
            Ok(None)
        }
        Err(e) if is(&e, Errno::INVAL) || is_without_family(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What all our routes have in common, and what tells one from another.
fn route(vip: IpAddr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family(vip),
        destination_prefix_length: bits(vip),
        table: TABLE,
        protocol: RouteProtocol::Other(PROTOCOL),
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![
        RouteAttribute::Destination(vip.into()),
        RouteAttribute::Oif(LOOPBACK),
        RouteAttribute::Priority(PRIORITY),
    ];
    route
}

/// The kernel filters; one that did not is not believed.
fn is_ours(route: &RouteMessage, family: AddressFamily) -> bool {
    route.header.address_family == family
        && route.header.table == TABLE
        && route.header.protocol == RouteProtocol::Other(PROTOCOL)
        && route.header.kind == RouteType::Local
}

fn ours(route: &RouteMessage) -> Option<(IpAddr, Option<IpAddr>)> {
    let vip = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })?;
    (route.header.destination_prefix_length == bits(vip)).then(|| (vip, source(route)))
}

fn source(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The length of a prefix that is one address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_without_family(error: &io::Error) -> bool {
    is(error, Errno::OPNOTSUPP) || is(error, Errno::AFNOSUPPORT)
}
