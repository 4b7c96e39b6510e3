//! The wires: a bridge in a namespace of its own, and a veth pair to each host.
//!
//! A cut puts the bridge's port into the STP state `disabled`: the bridge then neither forwards nor floods to it, while the
//! link at the host's end keeps its carrier, as when a switch beyond the next one fails. What remains is silence. Neighbour
//! entries are permanent, so that a missing ARP or ND answer does not turn the silence into EHOSTUNREACH after three seconds:
//! masters in other subnets, where the router goes on answering ARP, look exactly like that. [`Wires::real_neighbours`]
//! leaves them to ARP and ND.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::command::run;
use crate::name::LabName;
use crate::netns::Netns;
use crate::process::Place;

/// The bridge of a network, also the interface of its router.
pub(super) const BRIDGE: &str = "br0";
/// Each host's only interface beside loopback, unless it is the node or a router.
pub(super) const INTERFACE: &str = "eth0";
/// The number of a network's router, if it has one.
const ROUTER: u8 = 1;

/// The numbers that hosts may have.
const HOSTS: RangeInclusive<u8> = 1..=12;

/// Addresses `192.168.N.HOST` and `fd00:N::HOST`, the latter as if N were hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    third: u8,
    second: u16,
}

impl Subnet {
    /// The node and the masters beside it.
    pub(super) const NEAR: Self = Self { third: 77, second: 0x77 };
    /// Masters behind a router.
    pub(super) const FAR: Self = Self { third: 78, second: 0x78 };
    /// Clients from elsewhere, behind another router.
    pub(super) const OUTSIDE: Self = Self { third: 79, second: 0x79 };
    /// Between the node and that router.
    pub(super) const WIRE: Self = Self { third: 80, second: 0x80 };
    /// A virtual machine on the node.
    pub(super) const VM: Self = Self { third: 81, second: 0x81 };

    pub(super) fn v4(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.third, number)
    }

    pub(super) fn v6(self, number: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, self.second, 0, 0, 0, 0, 0, number.into())
    }

    fn mac(self, number: u8) -> String {
        format!("02:00:00:00:{:02x}:{number:02x}", self.third)
    }

    /// Both of its networks, as ip(8) reads them.
    pub(super) fn networks(self) -> [String; 2] {
        [format!("{}/24", self.v4(0)), format!("{}/64", self.v6(0))]
    }

    /// Lines for ip(8) that give an interface this number's addresses, among them a link-local one, without which a router
    /// asks for no neighbour.
    pub(super) fn addresses(self, interface: &str, number: u8) -> [String; 4] {
        [
            // The kernel's own would come a second after the others.
            format!("link set dev {interface} addrgenmode none"),
            format!("addr add {}/24 dev {interface}", self.v4(number)),
            // Without duplicate address detection, which would keep the address from being bound for a second.
            format!("addr add {}/64 dev {interface} nodad", self.v6(number)),
            format!("addr add fe80::{number}/64 dev {interface} nodad"),
        ]
    }

    /// Lines for ip(8) that lead to it by `via`.
    pub(super) fn routes(self, via: Subnet, number: u8) -> [String; 2] {
        let [v4, v6] = self.networks();
        [format!("route add {v4} via {}", via.v4(number)), format!("route add {v6} via {}", via.v6(number))]
    }

    /// Lines for ip(8) that lead everywhere by this number.
    pub(super) fn default_routes(self, number: u8) -> [String; 2] {
        [
            format!("route add default via {}", self.v4(number)),
            format!("route add default via {}", self.v6(number)),
        ]
    }

    /// Permanent entries for both addresses of each host but `own`, whether it exists or not.
    fn neighbours(self, own: u8, interface: &str) -> impl Iterator<Item = String> {
        HOSTS.filter(move |number| *number != own).flat_map(move |number| {
            let entry = |address: IpAddr| {
                let mac = self.mac(number);
                format!("neigh replace {address} lladdr {mac} dev {interface} nud permanent")
            };
            [entry(self.v4(number).into()), entry(self.v6(number).into())]
        })
    }
}

/// What wires do beside carrying packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wires {
    /// Neighbours are found by ARP and ND.
    pub(super) real_neighbours: bool,
    /// Checksums are completed, and large packets cut, before they reach a host, which then checks them. Otherwise a packet
    /// that was made on this machine is believed.
    pub(super) checked: bool,
    /// Those at the node are like cables between network cards that know XDP: every checksum is complete, and both ends take
    /// frames of which no skb was made.
    pub(super) cables: bool,
}

/// The bridge's side.
pub(super) struct Network {
    bridge: Netns,
    subnet: Subnet,
    wires: Wires,
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
    /// The one on which the node is.
    pub(super) fn new(name: &LabName, wires: Wires) -> anyhow::Result<Self> {
        let bridge = Netns::new(name.role("br"))?;
        bridge.ip(&[
            "link set dev lo up".to_owned(),
            format!("link add name {BRIDGE} type bridge"),
            format!("link set dev {BRIDGE} up"),
        ])?;
        Ok(Self { bridge, subnet: Subnet::NEAR, wires })
    }

    /// One whose router is the machine that `router` is.
    pub(super) fn behind(router: Host, subnet: Subnet, wires: Wires) -> anyhow::Result<Self> {
        let bridge = router.netns;
        let mut lines = vec![format!("link add name {BRIDGE} address {} type bridge", subnet.mac(ROUTER))];
        lines.extend(subnet.addresses(BRIDGE, ROUTER));
        lines.push(format!("link set dev {BRIDGE} up"));
        if !wires.real_neighbours {
            lines.extend(subnet.neighbours(ROUTER, BRIDGE));
        }
        bridge.ip(&lines)?;
        Ok(Self { bridge, subnet, wires })
    }

    /// Makes a host with this number's addresses.
    pub(super) fn join(&self, name: &LabName, role: &str, number: u8) -> anyhow::Result<Host> {
        let subnet = self.subnet;
        let host = Host::new(role, Netns::new(name.role(role))?, subnet.v4(number), subnet.v6(number));
        let (port, peer) = (port_name(role), host.netns.name());
        self.bridge.ip(&[
            format!("link add name {port} type veth peer name {INTERFACE} netns {peer}"),
            format!("link set dev {port} master {BRIDGE}"),
            format!("link set dev {port} up"),
        ])?;
        if self.wires.checked {
            check(&self.bridge, &port)?;
        }
        if self.wires.cables && role == "node" {
            cable(&self.bridge, &port)?;
        }
        let mut lines = vec![
            "link set dev lo up".to_owned(),
            format!("link set dev {INTERFACE} address {}", subnet.mac(number)),
        ];
        lines.extend(subnet.addresses(INTERFACE, number));
        lines.push(format!("link set dev {INTERFACE} up"));
        if !self.wires.real_neighbours {
            lines.extend(subnet.neighbours(number, INTERFACE));
        }
        host.netns.ip(&lines)?;
        Ok(host)
    }

    /// As [`Self::join`], for a host that reaches everything else by this network's router.
    pub(super) fn join_behind(&self, name: &LabName, role: &str, number: u8) -> anyhow::Result<Host> {
        let host = self.join(name, role, number)?;
        host.netns.ip(&self.subnet.default_routes(ROUTER))?;
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

    /// The longest packets that its router sends into it; what comes from its hosts may be longer.
    pub(super) fn set_mtu(&self, mtu: u32) -> anyhow::Result<()> {
        self.bridge.ip(&[format!("link set dev {BRIDGE} mtu {mtu}")])
    }

    /// Where the bridge is, and its router if it has one.
    pub(super) fn netns(&self) -> &Netns {
        &self.bridge
    }
}

/// Takes from an interface what lets it pass on packets whose checksum nobody has computed.
pub(super) fn check(netns: &Netns, interface: &str) -> anyhow::Result<()> {
    run(&["ip", "netns", "exec", netns.name(), "ethtool", "-K", interface, "tx", "off"])?;
    Ok(())
}

/// Makes an end of a veth pair one that XDP at the other end can send to, and whose packets it can take.
pub(super) fn cable(netns: &Netns, interface: &str) -> anyhow::Result<()> {
    run(&["ip", "netns", "exec", netns.name(), "ethtool", "-K", interface, "tx", "off", "gro", "on"])?;
    Ok(())
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

fn port_name(role: &str) -> String {
    format!("port-{role}")
}
