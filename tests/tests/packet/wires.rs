//! XDP between the node's wires: packets of connections that are open go past TC, and nobody can tell.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Agent, Builder, Node, VIP};
use lb_tests::wait::eventually;
use serde_json::{Value, json};

use super::setup::{FAMILIES, Yaml, both_families, builder, started, yaml};
use crate::common::SOON;
use crate::common::agent::{await_health, status, unhurried};
use crate::common::load::{Load, assert_untouched, figure, requests};
use crate::common::quiet::{alone, beside_others};
use crate::common::wires::{checksum_errors, counted};

/// Towards the masters, and towards machines from elsewhere.
const WIRES: [&str; 2] = ["eth0", "eth1"];

fn cabled() -> Builder {
    builder().cables().strict_rp_filter().real_neighbours()
}

fn with_xdp(config: &mut Yaml) {
    config["packet"]["xdp"] = yaml(json!(WIRES));
}

/// A lab on cables, with an agent that uses XDP there.
fn lab(builder: Builder, change: impl FnOnce(&mut Yaml)) -> Option<Lab> {
    let lab = builder.build_or_skip().unwrap()?;
    let families = both_families(&lab);
    lab.agent_config(|config| {
        families(config);
        change(config);
        with_xdp(config);
    })
    .unwrap();
    Some(lab)
}

/// How many packets XDP took.
fn taken(lab: &Lab) -> u64 {
    let table = lab.lbctl(&["connections", "-o", "json"]).unwrap().success().unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    table["counted"]["fastPackets"].as_u64().unwrap_or_else(|| unreachable!("{table}"))
}

/// 1 MiB in each direction.
fn bulk(client: &Node, to: &str, family: &str) {
    let report = client.client(&["bulk", "--to", to, "--family", family, "--count", "3"]).unwrap();
    for direction in ["up", "down"] {
        let parts = report[direction].as_array().unwrap();
        assert!(parts.iter().all(|part| part["server"].is_string()), "{family}, {direction}: {report}");
    }
}

#[test]
fn outside_clients_exchange_large_bodies_with_masters_past_tc() {
    let _turn = beside_others();
    let Some(lab) = lab(cabled().masters(1).routed_masters(1).local_master(), |_| ()) else { return };
    let _agent = started(&lab);
    for (family, to) in FAMILIES {
        let before = taken(&lab);
        let report = requests(lab.outsider(), to, family, 6);
        assert_eq!(report.raw["served"], json!({"local": 2, "m1": 2, "m2": 2}), "{family}: {report:?}");
        bulk(lab.outsider(), to, family);
        let fast = taken(&lab) - before;
        figure(&format!("{family}: {fast} packets by XDP"));
        // Two of three bodies in each direction are for masters that are not on the node: 1 MiB is 724 packets.
        assert!(fast > 2 * 2 * 600, "{family}: {fast} packets by XDP");
        // Clients that are not behind a wire, beside it.
        bulk(lab.vm(), to, family);
        bulk(lab.node(), to, family);
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn a_node_whose_conntrack_must_see_every_packet_uses_no_xdp_and_says_so() {
    let _turn = beside_others();
    let Some(lab) = lab(builder().masters(1), |_| ()) else { return };
    let _agent = started(&lab);
    assert_eq!(requests(lab.outsider(), VIP, "v4", 4).ok(), 4);
    assert_eq!(programs(&lab), [false, false]);
    eventually(SOON, "status says why", || {
        let status = status(&lab).to_string();
        let said =
            WIRES.iter().all(|wire| status.contains(&format!("XDP is not used on {wire}: nf_conntrack")));
        if said { Ok(()) } else { Err(status) }
    })
    .unwrap();
    let said = lab.lbctl(&["doctor"]).unwrap().stdout;
    assert!(said.contains("PACKET-XDP"), "{said}");
    assert!(said.contains("nf_conntrack_tcp_be_liberal=1"), "{said}");
}

#[test]
fn what_is_too_long_for_the_way_gets_there_in_smaller_packets() {
    const NARROW: u32 = 1280;
    let _turn = beside_others();
    let Some(lab) = lab(cabled().masters(0).routed_masters(1), |_| ()) else { return };
    // The node itself has to tell the sender: its own way is the narrow one.
    let narrow = |subnet: &str| format!("route change {subnet} via {} mtu lock {NARROW}", via(subnet));
    lab.node().host().netns().ip(&["192.168.78.0/24", "fd00:78::/64"].map(narrow)).unwrap();
    let _agent = started(&lab);
    for (family, to) in [FAMILIES[0], FAMILIES[2]] {
        let told = if family == "v6" { "Icmp6InPktTooBigs" } else { "IcmpInDestUnreachs" };
        let netns = lab.outsider().host().netns();
        let before = (counted(netns, told), taken(&lab));
        bulk(lab.outsider(), to, family);
        assert!(counted(netns, told) > before.0, "{family}: the outsider was told");
        assert!(taken(&lab) - before.1 > 1000, "{family}: what is short enough goes by XDP");
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

/// The router in front of the masters' second network.
fn via(subnet: &str) -> &'static str {
    if subnet.contains(':') { "fd00:77::c" } else { "192.168.77.12" }
}

#[test]
fn connections_by_xdp_end_when_their_master_loses_power() {
    const HELD: u32 = 12;
    let _turn = alone();
    let Some(lab) = lab(cabled().masters(3), unhurried) else { return };
    let agent = started(&lab);
    let victim = lab.master(0);
    let held = Load::on(&lab, lab.outsider(), "v4", 0, HELD);
    let (before, moment) = (taken(&lab), crate::common::load::unix_ms());
    victim.cut().unwrap();
    await_health(&agent, victim.address(), "dead", SOON);
    held.run_on(Duration::from_secs(2));
    let held = held.stop();
    let ends = held.ends(victim.name(), moment);
    figure(&format!("ended after {ends:?} ms, {:?}", held.endings(victim.name())));
    assert_eq!(ends.len() as u64, u64::from(HELD / 3), "all of them end: {held:?}");
    assert!(held.endings(victim.name()).iter().all(|end| *end == "ECONNRESET"), "{held:?}");
    assert_eq!(held.broken(), ends.len() as u64, "those to others go on: {held:?}");
    assert!(taken(&lab) > before, "XDP was in use");
}

#[test]
fn nobody_notices_that_the_agent_was_killed_nor_that_programs_are_replaced() {
    let _turn = alone();
    let Some(lab) = lab(cabled().masters(2), unhurried) else { return };
    let mut agent = started(&lab);
    let load = Load::on(&lab, lab.outsider(), "v4", 3, 6);
    load.more(30);
    for _ in 0..3 {
        agent.kill().unwrap();
        let before = taken(&lab);
        load.more(30);
        assert!(taken(&lab) > before, "XDP goes on without an agent");
        agent = started(&lab);
        load.more(30);
    }
    // Off, while connections are open: they go on by TC.
    agent.kill().unwrap();
    lab.agent_config(|config| {
        unhurried(config);
        config["scope"] = "node".into();
    })
    .unwrap();
    let agent = started(&lab);
    assert_eq!(programs(&lab), [false, false], "none is left on a wire");
    load.more(30);
    assert_untouched(&load.stop());
    drop(agent);
}

/// Whether an XDP program runs on each wire.
fn programs(lab: &Lab) -> [bool; 2] {
    WIRES.map(|wire| {
        let shown = lab.node().run(&["ip", "-details", "link", "show", "dev", wire]).unwrap();
        shown.success().unwrap().contains("prog/xdp")
    })
}

#[test]
fn a_wire_that_comes_back_is_followed_and_cleanup_leaves_no_program() {
    let _turn = alone();
    let Some((lab, agent)) = xdp_running(2) else { return };
    assert_eq!(programs(&lab), [true, true]);
    let netns = lab.node().host().netns();
    netns.ip(&["link set dev eth1 down".to_owned(), "link set dev eth1 up".to_owned()]).unwrap();
    netns.ip(&["route replace 192.168.79.0/24 via 192.168.80.2".to_owned()]).unwrap();
    assert_eq!(requests(lab.outsider(), VIP, "v4", 4).ok(), 4);
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    assert_eq!(programs(&lab), [false, false]);
}

fn xdp_running(masters: u8) -> Option<(Lab, Agent)> {
    let lab = lab(cabled().masters(masters), |_| ())?;
    let agent = started(&lab);
    Some((lab, agent))
}

/// The id of the XDP program on a wire, as ip(8) shows it.
fn program(lab: &Lab, wire: &str) -> Option<String> {
    let shown = lab.node().run(&["ip", "-details", "link", "show", "dev", wire]).unwrap().success().unwrap();
    let (_, id) = shown.split_once("prog/xdp id ")?;
    id.split_whitespace().next().map(str::to_owned)
}

#[test]
fn a_program_of_somebody_elses_stays_and_is_reported() {
    let _turn = alone();
    let Some(lab) = lab(cabled().masters(2), |_| ()) else { return };
    // Any program is somebody else's that does not hang by our link.
    let agent = started(&lab);
    let foreign = lab.pins().join("foreign");
    std::fs::rename(lab.pins().join("p1/programs/wire"), &foreign).unwrap();
    let pinned = foreign.to_str().unwrap();
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    assert_eq!(programs(&lab), [false, false]);
    lab.node()
        .run(&["ip", "link", "set", "dev", "eth1", "xdpdrv", "pinned", pinned])
        .unwrap()
        .success()
        .unwrap();
    let id = program(&lab, "eth1");
    assert!(id.is_some());
    let agent = started(&lab);
    assert_eq!(requests(lab.outsider(), VIP, "v4", 4).ok(), 4);
    eventually(SOON, "status says whose it is", || {
        let status = status(&lab).to_string();
        if status.contains("XDP is not used on eth1: XDP program") { Ok(()) } else { Err(status) }
    })
    .unwrap();
    assert!(program(&lab, "eth0").is_some(), "the other wire is ours");
    assert_eq!(program(&lab, "eth1"), id);
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    assert_eq!((program(&lab, "eth0"), program(&lab, "eth1")), (None, id));
    std::fs::remove_file(&foreign).unwrap();
}
