//! The wires: a bridge in a namespace of its own, and a veth pair to each host.
//!
//! A cut puts the bridge's port into the STP state `disabled`: the bridge then neither forwards nor floods to it, while the
//! link at the host's end keeps its carrier, as when a switch beyond the next one fails. What remains is silence. Neighbour
//! entries are permanent, so that a missing ARP or ND answer does not turn the silence into EHOSTUNREACH after three seconds:
//! masters in other subnets, where the router goes on answering ARP, look exactly like that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::command::run;
use crate::name::LabName;
use crate::netns::Netns;
use crate::process::Place;

const BRIDGE: &str = "br0";
/// Each host's only interface beside loopback.
pub(super) const INTERFACE: &str = "eth0";

/// The numbers that hosts may have.
const HOSTS: RangeInclusive<u8> = 2..=11;

/// The bridge's side.
pub(super) struct Network {
    bridge: Netns,
}

/// What the bridge does with a host's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Forwards,
    Drops,
}

/// One machine of the lab.
#[derive(Debug)]
pub struct Host {
    role: String,
    netns: Netns,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Network {
    pub(super) fn new(name: &LabName) -> anyhow::Result<Self> {
        let bridge = Netns::new(name.role("br"))?;
        bridge.ip(&[
            "link set dev lo up".to_owned(),
            format!("link add name {BRIDGE} type bridge"),
            format!("link set dev {BRIDGE} up"),
        ])?;
        Ok(Self { bridge })
    }

    /// Makes a host with the addresses 192.168.77.NUMBER and fd00:77::NUMBER.
    pub(super) fn join(&self, name: &LabName, role: &str, number: u8) -> anyhow::Result<Host> {
        let host = Host::new(role, Netns::new(name.role(role))?, v4(number), v6(number));
        let (port, peer) = (port_name(role), host.netns.name());
        self.bridge.ip(&[
            format!("link add name {port} type veth peer name {INTERFACE} netns {peer}"),
            format!("link set dev {port} master {BRIDGE}"),
            format!("link set dev {port} up"),
        ])?;
        let mut lines = vec![
            "link set dev lo up".to_owned(),
            // Without a link-local address, which would come a second after the others.
            format!("link set dev {INTERFACE} address {} addrgenmode none", mac(number)),
            format!("addr add {}/24 dev {INTERFACE}", host.v4),
            // Without duplicate address detection, which would keep the address from being bound for a second.
            format!("addr add {}/64 dev {INTERFACE} nodad", host.v6),
            format!("link set dev {INTERFACE} up"),
        ];
        lines.extend(HOSTS.filter(|other| *other != number).flat_map(neighbour));
        host.netns.ip(&lines)?;
        Ok(host)
    }

    pub(super) fn set_port(&self, host: &Host, port: Port) -> anyhow::Result<()> {
        // BR_STATE_DISABLED and BR_STATE_FORWARDING of linux/if_bridge.h.
        let state = match port {
            Port::Drops => "0",
            Port::Forwards => "3",
        };
        let port = port_name(&host.role);
        // Not ip(8): with it the state does not change, and nobody says so.
        run(&["bridge", "-n", self.bridge.name(), "link", "set", "dev", &port, "state", state])?;
        Ok(())
    }
}

impl Host {
    /// A machine whose interface is to have these addresses.
    pub(super) fn new(role: &str, netns: Netns, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { role: role.to_owned(), netns, v4, v6 }
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Both addresses with `port`.
    pub(super) fn sockets(&self, port: u16) -> [SocketAddr; 2] {
        [SocketAddr::from((self.v4(), port)), SocketAddr::from((self.v6(), port))]
    }

    /// Its part in the lab: `node`, `m1`, …
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// For processes of this host outside any cgroup of the lab.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { netns: self.netns.path().to_owned(), cgroup: None }
    }
}

/// Permanent entries for both addresses of a host, whether it exists or not.
fn neighbour(number: u8) -> [String; 2] {
    let entry = |address: IpAddr| {
        format!("neigh replace {address} lladdr {} dev {INTERFACE} nud permanent", mac(number))
    };
    [entry(v4(number).into()), entry(v6(number).into())]
}

fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, number)
}

fn v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into())
}

fn mac(number: u8) -> String {
    format!("02:00:00:00:77:{number:02x}")
}

fn port_name(role: &str) -> String {
    format!("port-{role}")
}
