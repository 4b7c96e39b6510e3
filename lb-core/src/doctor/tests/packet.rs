use super::*;
use Severity::{Fail, Ok as Good, Warn};

fn facts_of(facts: &mut Facts) -> &mut PacketFacts {
    facts.packet.as_mut().unwrap()
}

fn on_packet(facts: &mut Facts) {
    set_config(facts, |overrides| {
        overrides.dataplane = Some("packet".to_owned());
        overrides.scope = Some("node".to_owned());
    });
    facts.agent = agent(DataplaneKind::Packet, None);
}

#[test]
fn the_packet_dataplanes_kernel() {
    let old: Change = |facts| facts.kernel = "6.1.0".to_owned();
    let without_clsact: Change = |facts| {
        facts.modules.insert("cls_bpf".to_owned(), Module::Absent);
    };
    check(
        Code::PacketKernel,
        &[
            (old, Good, "on the qdisc clsact"),
            (|f| f.kernel = "6.12.0".to_owned(), Good, "has TCX"),
            (|f| f.packet_programs = Some(Err(lack())), Good, "not needed here"),
            (
                |f| {
                    on_packet(f);
                    f.packet_programs = Some(Err(lack()));
                },
                Fail,
                "it is missing",
            ),
            (without_clsact, Good, "has neither TCX nor cls_bpf; not needed here"),
            (
                |f| {
                    f.kernel = "6.12.0".to_owned();
                    f.modules.insert("cls_bpf".to_owned(), Module::Absent);
                },
                Good,
                "has TCX",
            ),
        ],
    );
}

#[test]
fn capabilities_that_only_packets_need() {
    let lacking: Change = |facts| facts.missing_for_packets = vec!["CAP_NET_RAW"];
    check(
        Code::Capabilities,
        &[
            (lacking, Good, "may do"),
            (
                |f| {
                    on_packet(f);
                    f.missing_for_packets = vec!["CAP_PERFMON"];
                },
                Good,
                "may do",
            ),
            (
                |f| {
                    on_packet(f);
                    f.missing_for_packets = vec!["CAP_PERFMON"];
                    f.packet_programs = None;
                },
                Warn,
                "lacks CAP_PERFMON",
            ),
            (
                |f| {
                    on_packet(f);
                    f.missing_for_packets = vec!["CAP_NET_RAW"];
                },
                Warn,
                "lacks CAP_NET_RAW",
            ),
        ],
    );
}

#[test]
fn interfaces() {
    check(
        Code::PacketInterfaces,
        &[
            (|_| (), Good, "backends are reached by eth0; clients come by it and by br0"),
            (|f| facts_of(f).facing.clear(), Good, "no other interface"),
            (|f| facts_of(f).facing = vec!["a".to_owned(), "b".to_owned()], Good, "by 2 more"),
            (|f| facts_of(f).unmatched = vec!["tap*".to_owned()], Warn, "no interface is called tap*"),
            (|f| facts_of(f).left_out = 7, Warn, "7 interfaces"),
            (|f| facts_of(f).unreachable = vec!["10.0.0.9".parse().unwrap()], Warn, "no route to 10.0.0.9"),
        ],
    );
}

#[test]
fn a_node_that_forwards_nothing() {
    let off: Change = |facts| {
        on_packet(facts);
        facts_of(facts).not_forwarding = vec!["net.ipv4.ip_forward".to_owned()];
    };
    check(
        Code::PacketForwarding,
        &[
            (|_| (), Good, "node's own processes alone"),
            (on_packet, Good, "the kernel forwards"),
            (off, Warn, "net.ipv4.ip_forward is 0"),
            (
                |f| {
                    on_packet(f);
                    facts_of(f).not_forwarding = vec!["net.ipv4.ip_forward".to_owned()];
                    facts_of(f).facing.clear();
                },
                Good,
                "no interface faces clients",
            ),
        ],
    );
}

#[test]
fn ports_and_programs_of_others() {
    check(
        Code::PacketPorts,
        &[(|_| (), Good, "15360-29999"), (|f| facts_of(f).ports_are_shared = true, Warn, "leaves no ports")],
    );
    check(
        Code::TcForeign,
        &[
            (|_| (), Good, "no program of others"),
            (
                |f| facts_of(f).foreign_before = vec!["program cil_from_netdev on eth0, in".to_owned()],
                Warn,
                "cil_from_netdev",
            ),
        ],
    );
}

#[test]
fn wires_on_which_xdp_is_not_used() {
    let refused: Change = |f| {
        facts_of(f).wires = vec!["eth0".to_owned()];
        facts_of(f).no_xdp = vec!["eth1: program 7 of somebody else's runs there".to_owned()];
    };
    check(
        Code::PacketXdp,
        &[
            (|_| (), Good, "all packets go by TC"),
            (|f| facts_of(f).wires = vec!["eth0".to_owned(), "eth1".to_owned()], Good, "on eth0, eth1"),
            (refused, Warn, "eth1: program 7"),
        ],
    );
}

#[test]
fn firewalld_sees_what_is_forwarded() {
    let firewalled: Change = |facts| {
        on_packet(facts);
        facts.firewalld = Some(true);
    };
    check(Code::Firewalld, &[(firewalled, Warn, "sees what is forwarded")]);
}
