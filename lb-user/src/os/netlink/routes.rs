//! The ways that packets take out of this node, as the kernel's routing tables and rules have them.

use std::{io, net::IpAddr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType},
};
use rustix::io::Errno;

use super::{is, rtnl::Rtnl};

/// LOOPBACK_IFINDEX, include/net/flow.h: the same in every network namespace.
pub const LOOPBACK: u32 = 1;

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The node's address that packets begin with.
    pub source: IpAddr,
    /// The interface that they leave by; the loopback interface to an address of the node itself.
    pub interface: u32,
    /// Whether they are delivered to the node itself.
    pub local: bool,
    /// Whether the address is a neighbour's: no router lies between.
    pub on_link: bool,
    /// The longest of them, if something was found out about the path or the route says so; else what the interface takes.
    pub mtu: Option<u32>,
}

/// Questions about routes.
pub struct Routes(Rtnl);

impl Routes {
    /// Opens a socket for them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Rtnl::open().map(Self)
    }

    /// The way to an address; `None` without a route to it.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn way(&mut self, address: IpAddr) -> io::Result<Option<Way>> {
        let Some(route) = self.look_up(address)? else { return Ok(None) };
        let local = match route.header.kind {
            RouteType::Local => true,
            RouteType::Unicast => false,
            _ => return Ok(None),
        };
        let (Some(source), Some(interface)) =
            (source(&route), if local { Some(LOOPBACK) } else { exit(&route) })
        else {
            return Ok(None);
        };
        Ok(Some(Way { source, interface, local, on_link: !local && !has_router(&route), mtu: mtu(&route) }))
    }

    /// Whether the kernel delivers packets from one address to another of the node's own that come in by an interface. Not so
    /// where rp_filter, ip-sysctl.rst, wants the way back to lead by that interface.
    ///
    /// # Errors
    /// When the kernel is silent, or cannot tell.
    pub fn takes(&mut self, interface: u32, from: IpAddr, to: IpAddr) -> io::Result<bool> {
        let mut message = question(to);
        message.header.source_prefix_length = bits(from);
        message.attributes.extend([RouteAttribute::Source(from.into()), RouteAttribute::Iif(interface)]);
        match self.0.ask(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(route.header.kind == RouteType::Local),
            Ok(_) => Ok(false),
            // What fib_validate_source and ip_route_input_slow refuse with, net/ipv4.
            Err(e)
                if [Errno::XDEV, Errno::INVAL, Errno::HOSTUNREACH, Errno::NODEV]
                    .iter()
                    .any(|errno| is(&e, *errno)) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// The route that the kernel would take.
    fn look_up(&mut self, address: IpAddr) -> io::Result<Option<RouteMessage>> {
        match self.0.ask(RouteNetlinkMessage::GetRoute(question(address)), 0) {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(Some(route)),
            Ok(_) => Ok(None),
            // No route, or one of type unreachable, prohibit or blackhole: the errors of fib_props, net/ipv4/fib_semantics.c.
            Err(e)
                if [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS]
                    .iter()
                    .any(|errno| is(&e, *errno)) =>
            {
                Ok(None)
            }
            Err(e) if is(&e, Errno::INVAL) || is_without_family(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The source address that the kernel would use towards an address; `None` without a route to it.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn source_towards(address: IpAddr) -> io::Result<Option<IpAddr>> {
    Ok(Routes::open()?.look_up(address)?.as_ref().and_then(source))
}

/// Whether packets to an address are delivered to this node itself.
///
/// # Errors
/// When the kernel refuses or is silent.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
    Ok(Routes::open()?.look_up(address)?.is_some_and(|route| route.header.kind == RouteType::Local))
}

/// What asks for the route to an address.
fn question(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = bits(address);
    message.attributes = vec![RouteAttribute::Destination(address.into())];
    message
}

pub(super) fn source(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    })
}

/// The metric `mtu`, where there is one.
pub(super) fn mtu(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
        _ => None,
    })
}

fn exit(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn has_router(route: &RouteMessage) -> bool {
    // What goes into a tunnel that the route describes has its next hop at the other end.
    let is_router = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::EncapType(_)
        )
    };
    route.attributes.iter().any(is_router)
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The length of a prefix that is one address.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

pub(super) fn is_without_family(error: &io::Error) -> bool {
    is(error, Errno::OPNOTSUPP) || is(error, Errno::AFNOSUPPORT)
}
