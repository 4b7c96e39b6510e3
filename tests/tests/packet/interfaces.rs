//! Interfaces that come and go, and those that are named.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Agent, VIP};
use serde_json::json;

use super::setup::{await_connect, builder, clients, forwarded, in_turn, running, started, yaml};
use crate::common::SOON;
use crate::common::load::{Load, assert_untouched, requests, syn};
use crate::common::quiet::{alone, beside_others};

/// By the issue.
const FOLLOWED: Duration = Duration::from_secs(1);

#[test]
fn a_virtual_machine_whose_interface_is_made_anew_is_served_within_a_second() {
    let _turn = alone();
    let Some((lab, _agent)) = running(2, |_| ()) else { return };
    let others = Load::on(&lab, lab.outsider(), "v4", 1, 2);
    for round in 1..=3 {
        assert_eq!(requests(lab.vm(), VIP, "v4", 4).ok(), 4, "before round {round}");
        lab.unplug_vm().unwrap();
        if round == 3 {
            // The agent sees it gone, rather than one in the place of the other.
            others.run_on(Duration::from_millis(300));
        }
        lab.plug_vm().unwrap();
        await_connect(lab.vm(), &format!("served again, round {round}"), FOLLOWED);
        assert_eq!(requests(lab.vm(), VIP, "v4", 4).ok(), 4, "after round {round}");
    }
    others.more(20);
    assert_untouched(&others.stop());
}

#[test]
fn clients_are_served_again_after_the_uplink_was_down() {
    let _turn = alone();
    let Some((lab, _agent)) = running(2, |_| ()) else { return };
    let held = clients(&lab).map(|(who, client)| (who, Load::on(&lab, client, "v4", 0, 4)));
    let uplink = |state: &str| lab.node().host().netns().ip(&[format!("link set dev eth0 {state}")]).unwrap();
    uplink("down");
    held[0].1.run_on(Duration::from_millis(300));
    uplink("up");
    for (who, client) in clients(&lab) {
        await_connect(client, &format!("{who} is served again"), SOON);
        let report = requests(client, VIP, "v4", 4);
        assert_eq!(report.raw["served"], json!({"m1": 2, "m2": 2}), "{who}: {report:?}");
    }
    for (who, held) in held {
        let held = held.stop();
        assert_eq!(held.broken(), 0, "{who}: {held:?}");
    }
}

/// A lab whose agent is told these interfaces.
fn named(lab: &Lab, interfaces: &[&str]) -> Agent {
    lab.agent_config(|config| {
        in_turn(config);
        config["packet"]["interfaces"] = yaml(json!(interfaces));
    })
    .unwrap();
    started(lab)
}

#[test]
fn only_interfaces_that_are_named_are_served() {
    let _turn = beside_others();
    let Some(lab) = builder().masters(1).build_or_skip().unwrap() else { return };
    let cases: [(&[&str], &[&str]); 3] =
        [(&["tap*", "cni?"], &["vm"]), (&["tap0", "eth1"], &["vm", "outsider"]), (&["eth1"], &["outsider"])];
    for (interfaces, served) in cases {
        // What was served by an earlier agent is so no longer.
        let agent = named(&lab, interfaces);
        for family in ["v4", "mapped"] {
            assert_eq!(requests(lab.node(), VIP, family, 4).ok(), 4, "{interfaces:?}: the node always is");
        }
        for (who, client) in forwarded(&lab) {
            if served.contains(&who) {
                assert_eq!(requests(client, VIP, "v4", 4).ok(), 4, "{interfaces:?}: {who}");
            } else {
                let (result, _) = syn(client, VIP);
                assert_ne!(result, "connected", "{interfaces:?}: {who}, by an interface that is not named");
            }
        }
        drop(agent);
    }
}
