//! The wires: a bridge in a namespace of its own, and a veth pair to each host.
//!
//! A cut puts the bridge's port into the STP state `disabled`: the bridge then neither forwards nor floods to it, while the
//! link at the host's end keeps its carrier, as when a switch beyond the next one fails. What remains is silence. Neighbour
//! entries are permanent, so that a missing ARP or ND answer does not turn the silence into EHOSTUNREACH after three seconds:
//! masters in other subnets, where the router goes on answering ARP, look exactly like that.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::command::run;
use crate::name::LabName;
use crate::netns::Netns;
use crate::process::Place;

const BRIDGE: &str = "br0";
/// Each host's only interface beside loopback.
pub(super) const INTERFACE: &str = "eth0";

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
        bridge.ip(&["link", "add", "name", BRIDGE, "type", "bridge"])?;
        bridge.ip(&["link", "set", "dev", BRIDGE, "up"])?;
        Ok(Self { bridge })
    }

    /// Makes a host with the addresses 192.168.77.NUMBER and fd00:77::NUMBER.
    pub(super) fn join(&self, name: &LabName, role: &str, number: u8) -> anyhow::Result<Host> {
        let (v4, v6) =
            (Ipv4Addr::new(192, 168, 77, number), Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into()));
        let host = Host::new(role, Netns::new(name.role(role))?, v4, v6);
        let port = port_name(role);
        let peer = host.netns.name();
        self.bridge
            .ip(&["link", "add", "name", &port, "type", "veth", "peer", "name", INTERFACE, "netns", peer])?;
        self.bridge.ip(&["link", "set", "dev", &port, "master", BRIDGE])?;
        self.bridge.ip(&["link", "set", "dev", &port, "up"])?;
        // Without a link-local address, which would come a second after the others.
        let mac = host.mac();
        host.netns.ip(&["link", "set", "dev", INTERFACE, "address", &mac, "addrgenmode", "none"])?;
        host.netns.ip(&["addr", "add", &format!("{}/24", host.v4()), "dev", INTERFACE])?;
        // Without duplicate address detection, which would keep the address from being bound for a second.
        host.netns.ip(&["addr", "add", &format!("{}/64", host.v6()), "dev", INTERFACE, "nodad"])?;
        host.netns.ip(&["link", "set", "dev", INTERFACE, "up"])?;
        Ok(host)
    }

    /// Gives every host a permanent neighbour entry for every other.
    pub(super) fn introduce(hosts: &[impl AsRef<Host>]) -> anyhow::Result<()> {
        let hosts = || hosts.iter().map(AsRef::as_ref);
        for host in hosts() {
            for other in hosts().filter(|other| other.v4 != host.v4) {
                for address in [other.v4().to_string(), other.v6().to_string()] {
                    let mac = other.mac();
                    host.netns.ip(&[
                        "neigh",
                        "replace",
                        &address,
                        "lladdr",
                        &mac,
                        "dev",
                        INTERFACE,
                        "nud",
                        "permanent",
                    ])?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_port(&self, host: &Host, port: Port) -> anyhow::Result<()> {
        // BR_STATE_DISABLED and BR_STATE_FORWARDING of linux/if_bridge.h.
        let state = match port {
            Port::Drops => "0",
            Port::Forwards => "3",
        };
        let net = format!("--net={}", self.bridge.path().display());
        let port = port_name(&host.role);
        run(&["nsenter", &net, "--", "bridge", "link", "set", "dev", &port, "state", state])?;
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
    pub(super) fn place(&self) -> Place {
        Place { netns: self.netns.path().to_owned(), cgroup: None }
    }

    fn mac(&self) -> String {
        let [.., number] = self.v4.octets();
        format!("02:00:00:00:77:{number:02x}")
    }
}

fn port_name(role: &str) -> String {
    format!("port-{role}")
}
