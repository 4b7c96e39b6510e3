//! More than one service, and services without a master.

use std::time::Duration;

use lb_tests::lab::VIP;
use serde_json::json;

use super::setup::{await_connect, builder, clients, in_turn, running, started, yaml};
use crate::common::SOON;
use crate::common::agent::await_serving;
use crate::common::load::{figure, ms, requests};
use crate::common::quiet::{alone, beside_others};

/// A refusal, not silence.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The same virtual address with another port.
const SECOND: &str = "10.103.97.2:8443";

#[test]
fn two_services_share_a_virtual_address() {
    let _turn = beside_others();
    let Some(lab) = builder().masters(2).build_or_skip().unwrap() else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    lab.agent_config(|config| {
        in_turn(config);
        let mut second = config["services"][0].clone();
        second["name"] = "second".into();
        second["vip"] = SECOND.into();
        second["backends"] = yaml(json!([m2.address()]));
        second.as_mapping_mut().unwrap().remove("hostname");
        config["services"][0]["backends"] = yaml(json!([m1.address()]));
        config["services"].as_sequence_mut().unwrap().push(second);
    })
    .unwrap();
    let _agent = started(&lab);
    for (who, client) in clients(&lab) {
        for (to, server) in [(VIP, "m1"), (SECOND, "m2")] {
            let report = requests(client, to, "v4", 8);
            assert_eq!(report.raw["served"], json!({server: 8}), "{who}: {report:?}");
            assert_eq!(report.raw["peers"], json!({to: 8}), "{who}: {report:?}");
        }
    }
    // Of both, side by side, from one source port after another.
    let to_both =
        ["load", "--to", SECOND, "--clients", "2", "--held", "0", "--duration", "2s", "--pause", "1ms"];
    let second = lab.vm().spawn_client(&to_both).unwrap();
    let first = requests(lab.vm(), VIP, "v4", 200);
    let second = second.wait(SOON).unwrap();
    assert_eq!((first.served("m1"), first.failed()), (200, 0), "{first:?}");
    assert_eq!((&second["failed"], second["served"].get("m1")), (&json!(0), None), "{second}");
}

#[test]
fn with_all_masters_down_every_client_is_refused_at_once() {
    let _turn = alone();
    let Some((lab, agent)) = running(2, |_| ()) else { return };
    lab.masters().iter().for_each(|master| master.kill().unwrap());
    await_serving(&agent, &[], SOON);
    for (who, client) in clients(&lab) {
        for family in ["v4", "mapped"] {
            let report = client.client(&["syn", "--to", VIP, "--family", family]).unwrap();
            figure(&format!("{who}, {family}: {report}"));
            assert_eq!(report["result"], "ECONNREFUSED", "{who}, {family}: {report}");
            assert!(report["ms"].as_i64() <= Some(ms(AT_ONCE)), "{who}, {family}: {report}");
        }
    }
    lab.master(0).start().unwrap();
    for (who, client) in clients(&lab) {
        await_connect(client, &format!("{who} connects again"), SOON);
    }
}
