//! Paths on which not every packet fits: senders are told, and what they are told reaches the one that sent.

use lb_tests::Lab;
use lb_tests::lab::Node;
use lb_tests::netns::Netns;
use serde_json::Value;

use super::setup::{FAMILIES, both_families, builder, clients, started};
use crate::common::quiet::beside_others;
use crate::common::wires::{checksum_errors, counted};

/// The least that IPv6 allows.
const NARROW: u32 = 1280;

/// How often a host was told that its packets are too long.
fn told(netns: &Netns, family: &str) -> u64 {
    counted(netns, if family == "v6" { "Icmp6InPktTooBigs" } else { "IcmpInDestUnreachs" })
}

/// 1 MiB in each direction.
fn bulk(client: &Node, to: &str, family: &str) -> Result<(), Value> {
    let report = client.client(&["bulk", "--to", to, "--family", family]).unwrap();
    let arrived = |direction: &str| report[direction][0]["server"].is_string();
    if arrived("up") && arrived("down") { Ok(()) } else { Err(report) }
}

fn lab() -> Option<Lab> {
    let builder = builder().masters(0).routed_masters(1).checked_wires().strict_rp_filter();
    let lab = builder.build_or_skip().unwrap()?;
    lab.agent_config(both_families(&lab)).unwrap();
    Some(lab)
}

#[test]
fn what_is_too_long_for_the_way_to_a_master_gets_there_in_smaller_packets() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    lab.set_far_mtu(NARROW).unwrap();
    let _agent = started(&lab);
    // Mapped sockets send the same packets as those of IPv4, and the path is known after the first.
    for (family, to) in [FAMILIES[0], FAMILIES[2]] {
        for (who, client) in clients(&lab) {
            let netns = client.host().netns();
            let before = told(netns, family);
            bulk(client, to, family).unwrap_or_else(|report| unreachable!("{who}, {family}: {report}"));
            assert!(told(netns, family) > before, "{who}, {family}: it was told");
        }
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn what_is_too_long_for_the_way_to_a_client_gets_there_in_smaller_packets() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    lab.set_outside_mtu(NARROW).unwrap();
    // Not the interface's own MTU, of which the machine would know and tell the master at the beginning.
    let vm = lab.vm().host();
    let narrow = |address: String| format!("route replace {address} dev tap0 mtu lock {NARROW}");
    lab.node().host().netns().ip(&[narrow(vm.v4().to_string()), narrow(vm.v6().to_string())]).unwrap();
    let _agent = started(&lab);
    let master = lab.master(0).host().netns();
    for (family, to) in [FAMILIES[0], FAMILIES[2]] {
        // The node comes first: with it nothing is narrow, and nobody is told. With masquerade a master knows one path
        // for all clients, so that only the first of the others has to tell it.
        for (who, client, tells) in
            [("node", lab.node(), false), ("outsider", lab.outsider(), true), ("vm", lab.vm(), false)]
        {
            let before = told(master, family);
            bulk(client, to, family).unwrap_or_else(|report| unreachable!("{who}, {family}: {report}"));
            assert_eq!(told(master, family) > before, tells, "{who}, {family}: whether the master was told");
        }
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn the_node_itself_tells_the_master_that_the_way_to_a_virtual_machine_is_narrow() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let vm = lab.vm().host();
    let narrow = |address: String| format!("route replace {address} dev tap0 mtu lock {NARROW}");
    lab.node().host().netns().ip(&[narrow(vm.v4().to_string()), narrow(vm.v6().to_string())]).unwrap();
    let _agent = started(&lab);
    let master = lab.master(0).host().netns();
    for (family, to) in [FAMILIES[0], FAMILIES[2]] {
        let before = told(master, family);
        bulk(lab.vm(), to, family).unwrap_or_else(|report| unreachable!("{family}: {report}"));
        assert!(told(master, family) > before, "{family}: the master was told");
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}
