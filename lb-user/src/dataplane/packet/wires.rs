//! Between which interfaces XDP may take packets. Pure, but for [`Wires::look`].

use std::{collections::BTreeMap, fmt, fs, io};

use lb_common::packet::MAX_WIRES;
use lb_core::model::{InterfacePattern, Scope};

use super::Options;
use crate::{
    dataplane::tc::Hung,
    os::netlink::{
        interfaces::{Framing, Interface},
        netdev::{Netdev, XdpFeatures},
    },
};

/// Whether nf_conntrack takes what it has not seen all of for valid. Absent: the kernel has no nf_conntrack.
const LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// An interface between which and others XDP takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// It sends what came in by another one.
    pub sends: bool,
    /// It sends back what came in by itself.
    pub returns: bool,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.sends, self.returns) {
            (true, _) => "sends what comes by others",
            (false, true) => "sends back what comes by itself",
            (false, false) => "sends nothing",
        })
    }
}

/// What became of the interfaces that `packet.xdp` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wires {
    /// Those where XDP is used, by their numbers.
    pub used: BTreeMap<u32, Wire>,
    /// The others, by their numbers, and why.
    pub refused: BTreeMap<u32, String>,
}

impl Wires {
    /// Looks at the interfaces that the configuration names. `ours` is what runs by our links.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn look(options: &Options, interfaces: &[Interface], ours: &BTreeMap<u32, Hung>) -> io::Result<Self> {
        let named: Vec<_> = interfaces.iter().filter(|found| is_named(&options.xdp, found)).collect();
        if named.is_empty() {
            return Ok(Self::default());
        }
        let mut netdev = Netdev::open()?;
        let node = Node {
            forwards: options.scope == Scope::Node,
            tells: netdev.is_some(),
            liberal: fs::read_to_string(LIBERAL).map_or(true, |text| text.trim() != "0"),
        };
        let mut wires = Self::default();
        for interface in named {
            let features = match &mut netdev {
                Some(netdev) => netdev.xdp_features(interface.index)?.unwrap_or_default(),
                None => XdpFeatures::default(),
            };
            let runs = ours.get(&interface.index).copied();
            match judge(interface, features, runs, node) {
                Ok(_) if wires.used.len() >= MAX_WIRES as usize => {
                    wires
                        .refused
                        .insert(interface.index, format!("more than {MAX_WIRES} wires are not followed"));
                }
                Ok(wire) => {
                    wires.used.insert(interface.index, wire);
                }
                Err(why) => {
                    wires.refused.insert(interface.index, why);
                }
            }
        }
        Ok(wires)
    }
}

fn is_named(patterns: &[InterfacePattern], interface: &Interface) -> bool {
    let mut names = interface.other_names.iter().chain([&interface.name]);
    !interface.loopback && names.any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
}

/// What holds for all interfaces of a node.
#[derive(Clone, Copy)]
struct Node {
    /// Packets of others than the node's own processes are taken.
    forwards: bool,
    /// The kernel tells what drivers can.
    tells: bool,
    /// nf_conntrack needs not see every packet.
    liberal: bool,
}

/// What can be done with an interface, or why nothing.
fn judge(
    interface: &Interface,
    features: XdpFeatures,
    ours: Option<Hung>,
    node: Node,
) -> Result<Wire, String> {
    if !node.forwards {
        return Err("scope: host forwards nothing (hint: scope: node)".to_owned());
    }
    if !node.tells {
        return Err("this kernel does not tell what drivers can (hint: Linux 6.3 or later)".to_owned());
    }
    if !node.liberal {
        // It sees the beginning and the end of a connection, whose sequence numbers are far apart: it would call the end
        // invalid, which kube-proxy has dropped, and keep the connection for five days.
        let hint = "hint: sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1";
        return Err(format!("nf_conntrack would take the ends of connections for invalid ({hint})"));
    }
    let Some(mac) = interface.mac.filter(|_| interface.framing == Framing::Ethernet) else {
        return Err("its packets have no Ethernet header".to_owned());
    };
    if let Some(program) = interface.xdp
        && ours != Some(Hung::Program(program.id))
    {
        return Err(format!("XDP program {} of somebody else's runs there", program.id));
    }
    if !features.runs() || !features.redirects() {
        return Err("its driver has no native XDP".to_owned());
    }
    // Of a veth both are its peer's doing.
    let is_veth = interface.kind.as_deref() == Some("veth");
    Ok(Wire { mac, sends: features.sends(), returns: if is_veth { features.sends() } else { true } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::netlink::interfaces::XdpProgram;

    const NODE: Node = Node { forwards: true, tells: true, liberal: true };
    const ALL: XdpFeatures = XdpFeatures(7);

    fn card() -> Interface {
        Interface {
            index: 2,
            name: "eth0".to_owned(),
            other_names: vec!["wan".to_owned()],
            up: true,
            loopback: false,
            framing: Framing::Ethernet,
            mtu: 1500,
            mac: Some([2, 0, 0, 0, 0, 1]),
            kind: None,
            master: None,
            xdp: None,
        }
    }

    #[test]
    fn what_stands_in_the_way_is_said() {
        let program = Some(XdpProgram { id: 7, native: true });
        let foreign = Interface { xdp: program, ..card() };
        for (interface, features, node, said) in [
            (card(), ALL, Node { forwards: false, ..NODE }, "scope: host"),
            (card(), ALL, Node { tells: false, ..NODE }, "Linux 6.3"),
            (card(), ALL, Node { liberal: false, ..NODE }, "nf_conntrack_tcp_be_liberal=1"),
            (Interface { framing: Framing::Ip, ..card() }, ALL, NODE, "no Ethernet header"),
            (Interface { mac: None, ..card() }, ALL, NODE, "no Ethernet header"),
            (card(), XdpFeatures(0), NODE, "no native XDP"),
            (card(), XdpFeatures(5), NODE, "no native XDP"),
            (foreign.clone(), ALL, NODE, "program 7 of somebody else's"),
        ] {
            let why = judge(&interface, features, None, node).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert!(judge(&foreign, ALL, Some(Hung::Program(8)), NODE).is_err());
        assert!(judge(&foreign, ALL, Some(Hung::Program(7)), NODE).is_ok(), "it is ours");
    }

    #[test]
    fn a_card_sends_back_by_itself_and_a_veth_if_its_peer_takes_it() {
        let wire = |kind: Option<&str>, features| {
            let interface = Interface { kind: kind.map(str::to_owned), ..card() };
            let Wire { sends, returns, .. } = judge(&interface, XdpFeatures(features), None, NODE).unwrap();
            (sends, returns)
        };
        assert_eq!(wire(None, 3), (false, true));
        assert_eq!(wire(None, 7), (true, true));
        assert_eq!(wire(Some("veth"), 3), (false, false));
        assert_eq!(wire(Some("veth"), 7), (true, true));
    }

    #[test]
    fn wires_are_named_by_any_of_their_names() {
        let named = |pattern: &str| is_named(&[pattern.parse().unwrap()], &card());
        assert!(named("eth*") && named("wan") && !named("lan"));
        assert!(!is_named(&["*".parse().unwrap()], &Interface { loopback: true, ..card() }));
        assert!(!is_named(&[], &card()));
    }
}
