//! Interfaces that come and go, and those that are named.

use std::time::Duration;

use lb_tests::lab::VIP;
use lb_tests::wait::eventually;
use serde_json::json;

use super::setup::{await_connect, clients, forwarded, running, yaml};
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

#[test]
fn only_interfaces_that_are_named_are_served() {
    let _turn = beside_others();
    let Some((lab, _agent)) =
        running(1, |config| config["packet"]["interfaces"] = yaml(json!(["tap*", "cni?"])))
    else {
        return;
    };
    for (family, count) in [("v4", 4), ("mapped", 4)] {
        assert_eq!(requests(lab.vm(), VIP, family, count).ok(), u64::from(count));
        assert_eq!(requests(lab.node(), VIP, family, count).ok(), u64::from(count), "the node always is");
    }
    let (result, _) = syn(lab.outsider(), VIP);
    assert_ne!(result, "connected", "by an interface that is not named");
    lab.agent_config(|config| {
        super::setup::in_turn(config);
        config["packet"]["interfaces"] = yaml(json!(["tap0", "eth1"]));
    })
    .unwrap();
    await_connect(lab.outsider(), "served once it is named", SOON);
    for (who, client) in forwarded(&lab) {
        assert_eq!(requests(client, VIP, "v4", 4).ok(), 4, "{who}");
    }
    lab.agent_config(|config| {
        super::setup::in_turn(config);
        config["packet"]["interfaces"] = yaml(json!(["eth1"]));
    })
    .unwrap();
    eventually(SOON, "not served once it is not named any longer", || match syn(lab.vm(), VIP) {
        (result, _) if result == "connected" => Err(result),
        _ => Ok(()),
    })
    .unwrap();
}
