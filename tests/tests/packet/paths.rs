//! Which clients reach which masters, and as whom.

use std::collections::BTreeSet;

use lb_tests::Lab;
use lb_tests::lab::{Builder, Node, VIP};
use serde_json::{Value, json};

use super::setup::{FAMILIES, Yaml, both_families, builder, clients, forwarded, in_turn, started};
use crate::common::load::requests;
use crate::common::quiet::beside_others;
use crate::common::wires::checksum_errors;

/// Six bodies of 1 MiB in each direction; the servers that have had one in both.
pub fn bulk(client: &Node, to: &str, family: &str) -> Vec<String> {
    let report = client.client(&["bulk", "--to", to, "--family", family, "--count", "6"]).unwrap();
    let servers = |direction: &str| -> BTreeSet<String> {
        let parts: &Vec<Value> = report[direction].as_array().unwrap();
        parts
            .iter()
            .map(|part| part["server"].as_str().unwrap_or_else(|| unreachable!("{report}")).to_owned())
            .collect()
    };
    servers("up").intersection(&servers("down")).cloned().collect()
}

/// Every client, with every kind of socket, exchanges large bodies with every master; no checksum is wrong anywhere.
fn all_reach_all(builder: Builder, change: impl FnOnce(&mut Yaml)) {
    let _turn = beside_others();
    let builder = builder.masters(1).routed_masters(1).local_master();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let both_families = both_families(&lab);
    lab.agent_config(|config| {
        both_families(config);
        change(config);
    })
    .unwrap();
    let _agent = started(&lab);
    for (who, client) in clients(&lab) {
        for (family, to) in FAMILIES {
            let report = requests(client, to, family, 6);
            assert_eq!(
                report.raw["served"],
                json!({"local": 2, "m1": 2, "m2": 2}),
                "{who}, {family}: {report:?}"
            );
            assert_eq!(report.raw["peers"], json!({to: 6}), "{who}, {family}: {report:?}");
            assert_eq!(bulk(client, to, family), ["local", "m1", "m2"], "{who}, {family}");
        }
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn every_client_reaches_masters_on_the_wire_behind_a_router_and_on_the_node() {
    all_reach_all(builder(), |_| ());
}

#[test]
fn every_client_reaches_every_master_by_the_nodes_stack() {
    all_reach_all(builder().checked_wires(), |config| config["packet"]["shortcut"] = "off".into());
}

#[test]
fn every_client_reaches_every_master_where_checksums_are_checked() {
    all_reach_all(builder().checked_wires(), |_| ());
}

#[test]
fn every_client_reaches_every_master_with_strict_rp_filter_and_real_neighbours() {
    all_reach_all(builder().strict_rp_filter().real_neighbours(), |_| ());
}

/// The client's address, as the master that answers sees it.
fn seen(client: &Node) -> String {
    let text = client.curl(&[&format!("https://{VIP}/whoami")]).unwrap().success().unwrap();
    let said: Value = serde_json::from_str(&text).unwrap();
    said["peer"].as_str().unwrap().rsplit_once(':').unwrap().0.to_owned()
}

#[test]
fn masters_see_the_node_or_with_masquerade_off_the_client_itself() {
    let _turn = beside_others();
    let Some(lab) = builder().masters(2).build_or_skip().unwrap() else { return };
    lab.agent_config(in_turn).unwrap();
    let agent = started(&lab);
    let node = lab.node().host().v4();
    for (who, client) in clients(&lab) {
        assert_eq!(seen(client), node.to_string(), "{who}");
    }
    drop(agent);
    know_the_way_back(&lab);
    lab.agent_config(|config| {
        in_turn(config);
        config["packet"]["masquerade"] = false.into();
    })
    .unwrap();
    let _agent = started(&lab);
    for (who, client) in clients(&lab) {
        assert_eq!(seen(client), client.host().v4().to_string(), "{who}");
    }
}

/// Routes on the masters to the clients' networks.
fn know_the_way_back(lab: &Lab) {
    for master in lab.masters() {
        let route =
            |client: &Node| format!("route add {} via {}", client.host().v4(), lab.node().host().v4());
        let routes: Vec<String> = forwarded(lab).iter().map(|(_, client)| route(client)).collect();
        master.host().netns().ip(&routes).unwrap();
    }
}
