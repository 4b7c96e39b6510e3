//! What the packet dataplane meets on a node: interfaces, routers' settings, ports, programs of others on the same hooks.

use super::{Code, Facts, Finding, PacketFacts};
use crate::model::{DataplaneKind, Scope};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(packet) = &facts.packet else { return Vec::new() };
    vec![interfaces(packet), forwarding(facts, packet), ports(packet), foreign(packet), xdp(packet)]
}

fn interfaces(packet: &PacketFacts) -> Finding {
    let code = Code::PacketInterfaces;
    let patterns = packet.unmatched.join(", ");
    if !packet.unmatched.is_empty() {
        return Finding::warn(
            code,
            format!("no interface is called {patterns}: clients there would not be served"),
            "compare packet.interfaces with `ip -brief link`; one that comes later is found then",
        );
    }
    if packet.left_out > 0 {
        return Finding::warn(
            code,
            format!("{} interfaces are more than are followed", packet.left_out),
            "name those that matter in packet.interfaces",
        );
    }
    if !packet.unreachable.is_empty() {
        let list: Vec<_> = packet.unreachable.iter().map(ToString::to_string).collect();
        return Finding::warn(
            code,
            format!("there is no route to {}: they get no connections", list.join(", ")),
            "see `ip route get ADDRESS`; routes that come later are followed",
        );
    }
    let uplinks = packet.uplinks.join(", ");
    Finding::ok(
        code,
        match packet.facing.as_slice() {
            [] => format!("backends are reached by {uplinks}; no other interface is followed"),
            [one] => format!("backends are reached by {uplinks}; clients come by it and by {one}"),
            more => {
                format!("backends are reached by {uplinks}; clients come by it and by {} more", more.len())
            }
        },
    )
}

/// The kernel routes the packets of clients that are not on the node, as it would without us.
fn forwarding(facts: &Facts, packet: &PacketFacts) -> Finding {
    let code = Code::PacketForwarding;
    if facts.config().is_some_and(|config| config.scope == Scope::Host) {
        return Finding::ok(code, "scope: host serves the node's own processes alone");
    }
    match packet.not_forwarding.as_slice() {
        [] => Finding::ok(code, "the kernel forwards packets"),
        names if packet.facing.is_empty() => {
            Finding::ok(code, format!("{} is 0; no interface faces clients", names.join(" and ")))
        }
        names => Finding::warn(
            code,
            format!("{} is 0: virtual machines, pods and other machines get no answer", names.join(" and ")),
            names.iter().map(|name| format!("sysctl -w {name}=1")).collect::<Vec<_>>().join(" && "),
        ),
    }
}

fn ports(packet: &PacketFacts) -> Finding {
    let (first, last) = packet.ports;
    if packet.ports_are_shared {
        return Finding::warn(
            Code::PacketPorts,
            format!(
                "net.ipv4.ip_local_port_range leaves no ports beside it for connections on their way: {first}-{last} are shared"
            ),
            format!(
                "sysctl -w net.ipv4.ip_local_port_range='32768 60999', or reserve them: net.ipv4.ip_local_reserved_ports={first}-{last}"
            ),
        );
    }
    Finding::ok(Code::PacketPorts, format!("connections get ports {first}-{last} on their way"))
}

fn foreign(packet: &PacketFacts) -> Finding {
    if packet.foreign_before.is_empty() {
        return Finding::ok(Code::TcForeign, "no program of others sees packets before ours");
    }
    Finding::warn(
        Code::TcForeign,
        format!("programs of others see packets before ours: {}", packet.foreign_before.join("; ")),
        "see that they pass on packets to the VIP and to ports on their way (bpftool net, tc filter show)",
    )
}

fn xdp(packet: &PacketFacts) -> Finding {
    let code = Code::PacketXdp;
    if !packet.no_xdp.is_empty() {
        return Finding::warn(
            code,
            format!("XDP is not used on {}", packet.no_xdp.join("; ")),
            "remove the reason, or take the interface out of packet.xdp; its packets go by TC",
        );
    }
    match packet.wires.as_slice() {
        [] => Finding::ok(code, "packet.xdp names no interface: all packets go by TC"),
        wires => Finding::ok(code, format!("packets of open connections go by XDP on {}", wires.join(", "))),
    }
}

/// Whether packets are, or are to be, this node's dataplane or a part of it.
pub fn is_used(facts: &Facts) -> bool {
    let has = |dataplanes: crate::model::Dataplanes| dataplanes.has(DataplaneKind::Packet);
    match (&facts.agent, facts.config().and_then(|config| config.dataplane)) {
        (Some(super::AgentFact::Running { dataplanes, .. }), _) => has(*dataplanes),
        (_, Some(named)) => has(named),
        (_, None) => facts.held.is_some_and(has),
    }
}
