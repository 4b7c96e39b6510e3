//! What the dataplane finds on the node: interfaces, ways to the backends, ports that it may use. And what it makes of that.
//! Pure, but for [`World::look`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use lb_core::{config::Interfaces, desired::DesiredState};

use super::wires::Wires;
use crate::{
    dataplane::tc::{Direction, Place},
    os::netlink::{
        interfaces::{self, Framing, Interface},
        routes::{self, LOOPBACK, Routes},
        vip_routes::VipRoute,
    },
};

/// What the programs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The ports that connections get on their way.
    pub first_port: u32,
    /// How many.
    pub ports: u32,
    /// Whether new connections are taken.
    pub takes: bool,
    /// Those of other network namespaces and machines too.
    pub forwards: bool,
    /// Whether the backends see the node's address.
    pub masquerades: bool,
    /// Whether a SYN that is not answered goes to another backend.
    pub rescues: bool,
    /// Whether segments of open connections that are forwarded pass by the stack.
    pub shortens: bool,
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_port, ports, .. } = self;
        let last = (first_port + ports).saturating_sub(1);
        let whose = match (self.takes, self.forwards) {
            (false, _) => "no new connections",
            (true, false) => "the node's own connections",
            (true, true) => "the node's own connections and those that it forwards",
        };
        write!(f, "{whose}, by ports {first_port} to {last}")?;
        if self.masquerades {
            f.write_str(", masqueraded")?;
        }
        if self.shortens {
            f.write_str(", past the stack once they are open")?;
        }
        Ok(())
    }
}

/// How the node reaches a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The node's address towards it.
    pub source: IpAddr,
    /// The interface.
    pub interface: u32,
    /// It is on the node itself.
    pub local: bool,
    /// It is a neighbour, with no router between.
    pub on_link: bool,
    /// What comes back to the node's own processes is received by this interface, and not by the loopback interface.
    pub in_place: bool,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local {
            return f.write_str("on this node");
        }
        write!(f, "by interface {} from {}", self.interface, self.source)?;
        if self.on_link {
            f.write_str(", on-link")?;
        }
        if self.in_place {
            f.write_str(", answers received there")?;
        }
        Ok(())
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Every interface.
    pub interfaces: Vec<Interface>,
    /// How many more there are than are followed.
    pub left_out: usize,
    /// Those of them between which XDP takes packets.
    pub wires: Wires,
    /// Who would miss packets that pass by the node's stack.
    pub onlookers: Vec<String>,
    /// Whether the kernel takes answers from a VIP at an interface.
    pub answers: BTreeMap<(IpAddr, u32), bool>,
    ways: BTreeMap<IpAddr, routes::Way>,
    ports: Range<u32>,
    /// The ports may be given to the node's own connections as well.
    pub ports_are_shared: bool,
}

/// Below NodePorts (30000 to 32767, Kubernetes' service-node-port-range) and below what connect() chooses from, whose usual
/// beginning is 32768; above are the ports of the agent's own probes.
const PORTS: Range<u32> = 15_360..30_000;
/// Of so many parts of the ports one is for rescued connections.
const RESCUE_SHARE: u32 = 4;
/// Fewer would be used up by a node that has many connections.
const FEWEST_PORTS: u32 = 4096;
const CHOSEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What it leaves out all the same: `8080,15360-29999`.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

impl World {
    /// Looks at the node.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn look(desired: &DesiredState) -> io::Result<Self> {
        Self::look_towards(desired.services.iter().flat_map(members).map(|b| b.ip()).collect())
    }

    /// The same, for these backends.
    ///
    /// # Errors
    /// As [`World::look`].
    pub fn look_towards(backends: BTreeSet<IpAddr>) -> io::Result<Self> {
        let interfaces::Interfaces { found, left_out } = interfaces::list()?;
        let (mut routes, mut ways) = (Routes::open()?, BTreeMap::new());
        for backend in backends {
            ways.extend(routes.way(backend)?.map(|way| (backend, way)));
        }
        let setting = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (ports, are_chosen) = ports(&setting(CHOSEN));
        let ports_are_shared = are_chosen && !are_reserved(&ports, &setting(RESERVED));
        Ok(Self { interfaces: found, left_out, ways, ports, ports_are_shared, ..Self::default() })
    }

    /// What people know an interface by.
    pub fn name(&self, index: u32) -> String {
        let found = self.interfaces.iter().find(|interface| interface.index == index);
        found.map_or_else(|| format!("interface {index}"), |interface| interface.name.clone())
    }

    /// The way to a backend, answers by the loopback interface.
    pub fn way(&self, backend: IpAddr) -> Option<Way> {
        let routes::Way { source, interface, local, on_link, .. } = *self.ways.get(&backend)?;
        Some(Way { source, interface, local, on_link, in_place: false })
    }

    /// The way to a backend of this VIP, answers in place where the kernel takes them there.
    pub fn way_of(&self, vip: IpAddr, backend: IpAddr) -> Option<Way> {
        let way = self.way(backend)?;
        Some(Way { in_place: self.answers.get(&(vip, way.interface)) == Some(&true), ..way })
    }

    /// The ways to all backends.
    pub fn ways(&self) -> BTreeMap<IpAddr, Way> {
        self.ways.keys().filter_map(|backend| Some((*backend, self.way(*backend)?))).collect()
    }

    /// The first and the last of the ports that connections get on their way, rescued ones among them.
    pub fn port_range(&self) -> (u32, u32) {
        (self.ports.start, self.ports.end.saturating_sub(1))
    }

    /// The first of the ports of the packet dataplane, and how many it has.
    pub fn ports(&self) -> (u32, u32) {
        let ports = self.ports.end.saturating_sub(self.ports.start);
        (self.ports.start, ports - ports / RESCUE_SHARE)
    }

    /// The same for connections of the socket dataplane that are sent to another backend: both may run on one node.
    pub fn rescue_ports(&self) -> (u32, u32) {
        let (first, ports) = self.ports();
        (first + ports, self.ports.end.saturating_sub(first + ports))
    }

    /// Where programs run: on the way out by the loopback interface, and in both directions on those that `takes` names and
    /// on those that lead to a backend.
    pub fn places(&self, takes: impl Fn(&str) -> bool) -> Vec<(Place, Framing)> {
        let uplinks: BTreeSet<_> = self.ways.values().map(|way| way.interface).collect();
        let mut places = Vec::new();
        for interface in &self.interfaces {
            let Interface { index, framing, .. } = *interface;
            if index == LOOPBACK {
                places.push((Place { interface: index, direction: Direction::Out }, Framing::Ethernet));
                continue;
            }
            let names = interface.other_names.iter().chain([&interface.name]);
            let is_taken = !interface.loopback && names.into_iter().any(|name| takes(name));
            if framing != Framing::Other && (is_taken || uplinks.contains(&index)) {
                let place = |direction| (Place { interface: index, direction }, framing);
                places.extend(Direction::ALL.map(place));
            }
        }
        places
    }

    /// The interfaces of [`World::places`].
    pub fn followed(&self, interfaces: &Interfaces) -> BTreeSet<u32> {
        self.places(|name| interfaces.has(name)).into_iter().map(|(place, _)| place.interface).collect()
    }

    /// Where programs run that follow rescued connections: in both directions on the interfaces that lead to a backend, and on
    /// the way out by the loopback interface where one is on this node.
    pub fn uplinks(&self) -> Vec<(Place, Framing)> {
        let uplinks: BTreeSet<_> = self.ways.values().map(|way| way.interface).collect();
        let mut places = Vec::new();
        for Interface { index, framing, .. } in &self.interfaces {
            let place = |direction| (Place { interface: *index, direction }, *framing);
            match (uplinks.contains(index), *index == LOOPBACK, framing) {
                (true, true, _) => {
                    let place = Place { interface: LOOPBACK, direction: Direction::Out };
                    places.push((place, Framing::Ethernet));
                }
                (true, false, Framing::Ethernet | Framing::Ip) => places.extend(Direction::ALL.map(place)),
                _ => {}
            }
        }
        places
    }

    /// The longest packet that an interface takes.
    fn mtu(&self, index: u32) -> Option<u32> {
        self.interfaces.iter().find(|interface| interface.index == index).map(|interface| interface.mtu)
    }

    /// The route to the VIP of some backends: by the source that the first one which is not on the node is reached from, and
    /// with the smallest MTU of the ways to all of them.
    pub fn vip_route(&self, vip: IpAddr, backends: &[SocketAddr]) -> Option<VipRoute> {
        let ways = || backends.iter().filter_map(|backend| self.ways.get(&backend.ip()));
        let chosen = ways().find(|way| !way.local).or_else(|| ways().next())?;
        let mtu = ways().filter(|way| !way.local).filter_map(|way| way.mtu.or(self.mtu(way.interface))).min();
        (chosen.source.is_ipv4() == vip.is_ipv4()).then_some(VipRoute { source: Some(chosen.source), mtu })
    }
}

/// The backends of a service: those that serve are among those that are known.
pub fn members(service: &lb_core::desired::DesiredService) -> impl Iterator<Item = SocketAddr> {
    service.members.iter().copied().chain(service.serving.iter().map(|backend| backend.address))
}

/// Ports that connect() does not choose, and whether it chooses them all the same.
fn ports(chosen: &str) -> (Range<u32>, bool) {
    let mut words = chosen.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last))) = (words.next(), words.next()) else {
        return (PORTS, false);
    };
    let below = PORTS.start.min(first)..PORTS.end.min(first);
    let above = PORTS.start.max(last + 1)..PORTS.end.max(last + 1).min(PORTS.end);
    let room = |ports: &Range<u32>| ports.end.saturating_sub(ports.start) >= FEWEST_PORTS;
    if room(&below) {
        return (below, false);
    }
    if room(&above) {
        return (above, false);
    }
    let low = 1024..first;
    if room(&low) { (low, false) } else { (PORTS, true) }
}

/// Whether all of these ports lie in one part of the setting; the kernel joins parts that touch.
fn are_reserved(ports: &Range<u32>, reserved: &str) -> bool {
    reserved.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first <= ports.start && ports.end <= last + 1,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_none_that_connect_chooses_where_there_are_such() {
        for (chosen, expected) in [
            ("32768\t60999\n", (15_360..30_000, false)),
            ("20000 65535", (15_360..20_000, false)),
            ("10000 20000", (20_001..30_000, false)),
            ("10000 65535", (1024..10_000, false)),
            ("1024 65535", (15_360..30_000, true)),
            ("", (15_360..30_000, false)),
        ] {
            assert_eq!(ports(chosen), expected, "{chosen:?}");
        }
    }

    #[test]
    fn ports_that_are_reserved_are_nobody_elses() {
        for (reserved, expected) in [
            ("15360-29999\n", true),
            ("80,1024-30000", true),
            ("15361-29999", false),
            ("15360-29998", false),
            ("15360", false),
            ("\n", false),
        ] {
            assert_eq!(are_reserved(&PORTS, reserved), expected, "{reserved:?}");
        }
    }
}
