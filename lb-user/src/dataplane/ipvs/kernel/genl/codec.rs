//! IPVS's attributes, include/uapi/linux/ip_vs.h.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_TYPE_MASK, Nla as _, NlasIterator};

use super::{DestinationEntry, ServiceEntry};
use crate::dataplane::ipvs::{
    native::{Destination, Forwarding},
    scheduler::Scheduling,
};

/// AF_INET and AF_INET6 of socket.h, IPPROTO_TCP of in.h.
const INET: u16 = 2;
const INET6: u16 = 10;
const TCP: u16 = 6;

/// IPVS_CMD_ATTR_*: what a message is about.
pub const SERVICE: u16 = 1;
pub const DESTINATION: u16 = 2;
pub const TIMEOUT_TCP: u16 = 4;

/// IPVS_SVC_ATTR_*.
const SVC_AF: u16 = 1;
const SVC_PROTOCOL: u16 = 2;
const SVC_ADDR: u16 = 3;
const SVC_PORT: u16 = 4;
const SVC_SCHED_NAME: u16 = 6;
const SVC_FLAGS: u16 = 7;
const SVC_TIMEOUT: u16 = 8;
const SVC_NETMASK: u16 = 9;

/// IP_VS_SVC_F_HASHED: the kernel's own.
const SVC_F_HASHED: u32 = 0x2;

/// IPVS_DEST_ATTR_*.
const DEST_ADDR: u16 = 1;
const DEST_PORT: u16 = 2;
const DEST_FWD_METHOD: u16 = 3;
const DEST_WEIGHT: u16 = 4;
const DEST_U_THRESH: u16 = 5;
const DEST_L_THRESH: u16 = 6;
const DEST_ACTIVE_CONNS: u16 = 7;
const DEST_STATS: u16 = 10;
const DEST_ADDR_FAMILY: u16 = 11;
const DEST_STATS64: u16 = 12;

/// IPVS_STATS_ATTR_CONNS: in 32 bits in STATS, in 64 in STATS64.
const STATS_CONNS: u16 = 1;

/// IP_VS_CONN_F_FWD_MASK: the bits that say how packets are forwarded; masquerading is 0.
const FORWARD_MASK: u32 = 0x7;

fn nla(kind: u16, value: impl Into<Vec<u8>>) -> DefaultNla {
    DefaultNla::new(kind, value.into())
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    nla(kind, bytes)
}

fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// Always 16 bytes: an IPv4 address is in the first four.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            let (first, _) = bytes.split_at_mut(4);
            first.copy_from_slice(&address.octets());
            bytes
        }
    }
}

fn key_attributes(vip: SocketAddr) -> Vec<DefaultNla> {
    vec![
        nla(SVC_AF, family(vip.ip()).to_ne_bytes()),
        nla(SVC_PROTOCOL, TCP.to_ne_bytes()),
        nla(SVC_ADDR, octets(vip.ip())),
        nla(SVC_PORT, vip.port().to_be_bytes()),
    ]
}

/// Which service is meant.
pub fn service_key(vip: SocketAddr) -> DefaultNla {
    nest(SERVICE, &key_attributes(vip))
}

/// All of a service but its destinations.
pub fn service(vip: SocketAddr, scheduling: &Scheduling) -> DefaultNla {
    // Which clients a persistent service treats alike; ours are not persistent. A mask for IPv4, a length for IPv6.
    let netmask = match vip.ip() {
        IpAddr::V4(_) => u32::MAX,
        IpAddr::V6(_) => 128,
    };
    let mut name = scheduling.name.clone().into_bytes();
    name.push(0);
    let flags = [scheduling.flags.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
    let mut attributes = key_attributes(vip);
    attributes.extend([
        nla(SVC_SCHED_NAME, name),
        nla(SVC_FLAGS, flags),
        nla(SVC_TIMEOUT, 0_u32.to_ne_bytes()),
        nla(SVC_NETMASK, netmask.to_ne_bytes()),
    ]);
    nest(SERVICE, &attributes)
}

fn destination_attributes(address: SocketAddr) -> Vec<DefaultNla> {
    vec![
        nla(DEST_ADDR_FAMILY, family(address.ip()).to_ne_bytes()),
        nla(DEST_ADDR, octets(address.ip())),
        nla(DEST_PORT, address.port().to_be_bytes()),
    ]
}

/// Which destination is meant.
pub fn destination_key(address: SocketAddr) -> DefaultNla {
    nest(DESTINATION, &destination_attributes(address))
}

/// All of a destination, masqueraded, without limits.
pub fn destination(address: SocketAddr, weight: u32) -> DefaultNla {
    let mut attributes = destination_attributes(address);
    attributes.extend([
        nla(DEST_FWD_METHOD, 0_u32.to_ne_bytes()),
        nla(DEST_WEIGHT, weight.to_ne_bytes()),
        nla(DEST_U_THRESH, 0_u32.to_ne_bytes()),
        nla(DEST_L_THRESH, 0_u32.to_ne_bytes()),
    ]);
    nest(DESTINATION, &attributes)
}

/// Attributes, to be asked for by kind.
struct Attributes<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Attributes<'a> {
    fn parse(bytes: &'a [u8]) -> io::Result<Self> {
        let mut found = Vec::new();
        let mut rest = bytes;
        for attribute in NlasIterator::new(bytes) {
            let attribute = attribute.map_err(io::Error::other)?;
            let length = usize::from(attribute.length());
            let value = rest.get(4..length).unwrap_or_default();
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            found.push((attribute.kind(), value));
        }
        Ok(Self(found))
    }

    fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }

    fn array<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        self.get(kind)?.first_chunk().copied()
    }

    fn u16(&self, kind: u16) -> Option<u16> {
        self.array(kind).map(u16::from_ne_bytes)
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        self.array(kind).map(u32::from_ne_bytes)
    }

    fn socket_addr(&self, family: u16, address: u16, port: u16) -> Option<SocketAddr> {
        let octets: [u8; 16] = self.array(address)?;
        let ip = match family {
            INET => IpAddr::V4(Ipv4Addr::from(*octets.first_chunk::<4>()?)),
            INET6 => IpAddr::V6(Ipv6Addr::from(octets)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.array(port).map(u16::from_be_bytes)?))
    }
}

/// The payload of an attribute.
pub fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

/// The payload of a message's attribute of some kind.
pub fn find(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    attributes.iter().find(|attribute| attribute.kind() & NLA_TYPE_MASK == kind).map(value)
}

/// Reads a service. `None`: it is not TCP, or has no address (a firewall mark).
pub fn parse_service(bytes: &[u8]) -> io::Result<Option<ServiceEntry>> {
    let attributes = Attributes::parse(bytes)?;
    if attributes.u16(SVC_PROTOCOL) != Some(TCP) {
        return Ok(None);
    }
    let family = attributes.u16(SVC_AF).ok_or_else(|| lacks("service", "address family"))?;
    let Some(vip) = attributes.socket_addr(family, SVC_ADDR, SVC_PORT) else { return Ok(None) };
    let name = attributes.get(SVC_SCHED_NAME).ok_or_else(|| lacks("service", "scheduler"))?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let flags = attributes.u32(SVC_FLAGS).ok_or_else(|| lacks("service", "flags"))? & !SVC_F_HASHED;
    let scheduling = Scheduling { name: String::from_utf8_lossy(name).into_owned(), flags };
    Ok(Some(ServiceEntry { vip, scheduling }))
}

/// Reads a destination of a service at `vip`.
pub fn parse_destination(bytes: &[u8], vip: SocketAddr) -> io::Result<DestinationEntry> {
    let attributes = Attributes::parse(bytes)?;
    let need = |kind, name| attributes.u32(kind).ok_or_else(|| lacks("destination", name));
    // Before Linux 3.18 it was always the service's.
    let family = attributes.u16(DEST_ADDR_FAMILY).unwrap_or_else(|| family(vip.ip()));
    let address = attributes
        .socket_addr(family, DEST_ADDR, DEST_PORT)
        .ok_or_else(|| lacks("destination", "address"))?;
    let plain = need(DEST_FWD_METHOD, "forwarding method")? & FORWARD_MASK == 0
        && attributes.u32(DEST_U_THRESH).unwrap_or(0) == 0;
    let forwarding = if plain { Forwarding::Masquerade } else { Forwarding::Other };
    Ok(DestinationEntry {
        address,
        destination: Destination { weight: need(DEST_WEIGHT, "weight")?, forwarding },
        active: need(DEST_ACTIVE_CONNS, "number of connections")?,
        total: total(&attributes)?,
    })
}

fn total(attributes: &Attributes<'_>) -> io::Result<u64> {
    if let Some(stats) = attributes.get(DEST_STATS64) {
        let conns = Attributes::parse(stats)?.array(STATS_CONNS);
        return conns.map(u64::from_ne_bytes).ok_or_else(|| lacks("destination", "statistics"));
    }
    // Before Linux 4.1.
    let stats = attributes.get(DEST_STATS).ok_or_else(|| lacks("destination", "statistics"))?;
    let conns = Attributes::parse(stats)?.u32(STATS_CONNS);
    conns.map(u64::from).ok_or_else(|| lacks("destination", "statistics"))
}

fn lacks(object: &str, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's answer about a {object} lacks its {what}"),
    )
}
