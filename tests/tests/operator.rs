//! What an operator asks for holds, also over restarts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::time::Duration;

use common::agent::{
    all_up, await_backend, await_health, await_serving, backends, fast, listed, of_address, running, status,
};
use common::load::{Load, Report, requests};
use common::quiet::beside_others;
use common::{SOON, lab};
use lb_tests::Lab;
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;
use serde_json::json;

fn operate(lab: &Lab, words: &[&str]) {
    lab.lbctl(&[&["backends"], words].concat()).unwrap().success().unwrap();
}

fn hundred(lab: &Lab) -> Report {
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.failed()), (100, 0), "{report:?}");
    report
}

fn two_of_three(lab: &Lab) {
    lab.agent_config(|yaml| {
        fast(yaml);
        yaml["services"][0]["backends"].as_sequence_mut().unwrap().pop();
    })
    .unwrap();
}

#[test]
fn a_drained_backend_keeps_its_connections_and_stays_drained_over_restarts() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let mut agent = running(&lab);
    let address = lab.master(0).address();
    let held = Load::start(&lab, "v4", 0, 12);
    operate(&lab, &["drain", &address.to_string()]);
    let seen = of_address(&listed(&lab), address).unwrap();
    assert_eq!(
        (&seen["admin"], &seen["serving"], &seen["health"]),
        (&json!("draining"), &json!(false), &json!("up")),
        "{seen}"
    );
    assert_eq!(hundred(&lab).served("m1"), 0);
    for kill in [true, false] {
        if kill {
            agent.kill().unwrap();
        } else {
            agent.terminate(SOON).unwrap();
        }
        agent = running(&lab);
        let seen = of_address(&backends(&agent).unwrap(), address).unwrap();
        assert_eq!((&seen["admin"], &seen["serving"]), (&json!("draining"), &json!(false)), "{seen}");
        assert_eq!(hundred(&lab).served("m1"), 0);
    }
    operate(&lab, &["enable", &address.to_string()]);
    assert!(hundred(&lab).served("m1") > 10);
    let held = held.stop();
    assert_eq!(held.broken(), 0, "{held:?}");
}

#[test]
fn a_drain_with_a_deadline_ends_what_is_left_then_and_nothing_before() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let agent = running(&lab);
    let address = lab.master(0).address();
    let held = Load::start(&lab, "v4", 0, 24);
    let asked = common::load::unix_ms();
    operate(&lab, &["drain", &address.to_string(), "--timeout", "2s"]);
    let draining = of_address(&listed(&lab), address).unwrap();
    assert!(draining["reason"].as_str().unwrap().contains("connections end at"), "{draining}");
    await_backend(&agent, address, "its connections have ended", SOON, |backend| {
        backend["connections"]["active"] == 0 && backend["reason"] == "drained by operator"
    });
    let held = held.stop();
    let ends = held.ends("m1", asked);
    common::load::figure(&format!("drained with 2 s: {} connections ended after {ends:?} ms", ends.len()));
    assert!(!ends.is_empty() && ends.iter().all(|end| (1900..3000).contains(end)), "{ends:?}");
    assert_eq!(held.broken(), ends.len() as u64, "connections to others ended too: {held:?}");
}

#[test]
fn a_disabled_backend_loses_its_connections_and_gets_none_until_it_is_enabled() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let mut agent = running(&lab);
    let address = lab.master(0).address();
    let held = Load::start(&lab, "mapped", 0, 24);
    let before = common::load::unix_ms();
    operate(&lab, &["disable", &address.to_string()]);
    assert_eq!(hundred(&lab).served("m1"), 0);
    let held = held.stop();
    let ends = held.ends("m1", before);
    assert!(!ends.is_empty() && held.broken() == ends.len() as u64, "only those of m1 end: {held:?}");
    agent.kill().unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[lab.master(1), lab.master(2)], SOON);
    let seen = of_address(&backends(&agent).unwrap(), address).unwrap();
    assert_eq!(seen["admin"], "disabled", "{seen}");
    operate(&lab, &["enable", &address.to_string()]);
    all_up(&lab, &agent);
    assert!(hundred(&lab).served("m1") > 10);
}

#[test]
fn an_added_backend_serves_over_restarts_until_it_is_removed() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    two_of_three(&lab);
    let mut agent = lab.start_agent().unwrap();
    let m3 = lab.master(2).address();
    await_serving(&agent, &[lab.master(0), lab.master(1)], SOON);
    operate(&lab, &["add", &m3.to_string(), "--weight", "8"]);
    let seen = await_health(&agent, m3, "up", SOON);
    assert_eq!((&seen["source"], &seen["weight"]), (&json!("runtime"), &json!(8)), "{seen}");
    assert!(hundred(&lab).served("m3") > 60, "it has 8 of 10 shares");
    agent.kill().unwrap();
    let agent = lab.start_agent().unwrap();
    let seen = await_health(&agent, m3, "up", SOON);
    assert_eq!((&seen["source"], &seen["weight"]), (&json!("runtime"), &json!(8)), "{seen}");
    assert!(hundred(&lab).served("m3") > 60, "it has 8 of 10 shares");
    operate(&lab, &["remove", &m3.to_string()]);
    await_serving(&agent, &[lab.master(0), lab.master(1)], SOON);
    assert_eq!(backends(&agent).unwrap().len(), 2);
    assert_eq!(hundred(&lab).served("m3"), 0);
}

#[test]
fn a_runtime_change_is_dropped_once_the_config_changes_that_backend() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    two_of_three(&lab);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[lab.master(0), lab.master(1)], SOON);
    let (m1, m3) = (lab.master(0).address(), lab.master(2).address());
    operate(&lab, &["add", &m3.to_string(), "--weight", "8"]);
    await_health(&agent, m3, "up", SOON);
    // A change of something else leaves it alone.
    lab.agent_config(|yaml| {
        fast(yaml);
        yaml["services"][0]["backends"] =
            serde_yaml::to_value(json!([{"address": m1, "weight": 2}, lab.master(1).address()])).unwrap();
    })
    .unwrap();
    await_backend(&agent, m1, "the config's weight", SOON, |backend| backend["weight"] == 2);
    assert_eq!(of_address(&backends(&agent).unwrap(), m3).unwrap()["weight"], 8);

    lab.agent_config(fast).unwrap();
    await_backend(&agent, m3, "the config's word", SOON, |backend| {
        backend["source"] == "config" && backend["weight"] == 1
    });
}

#[test]
fn a_backend_of_the_config_that_was_removed_stays_away_until_the_config_changes_it() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let mut agent = running(&lab);
    let m1 = lab.master(0).address();
    operate(&lab, &["remove", &m1.to_string()]);
    await_serving(&agent, &[lab.master(1), lab.master(2)], SOON);
    agent.kill().unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[lab.master(1), lab.master(2)], SOON);
    assert_eq!(hundred(&lab).served("m1"), 0);
    lab.agent_config(|yaml| {
        fast(yaml);
        yaml["services"][0]["backends"][0] =
            serde_yaml::to_value(json!({"address": m1, "weight": 3})).unwrap();
    })
    .unwrap();
    await_health(&agent, m1, "up", SOON);
    assert!(hundred(&lab).served("m1") > 30);
}

#[test]
fn what_an_operator_asks_of_a_backend_that_is_not_there_fails_and_names_it() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let _agent = running(&lab);
    for verb in ["drain", "enable", "disable", "remove"] {
        let failed = lab.lbctl(&["backends", verb, "192.168.77.99:6443"]).unwrap();
        assert_ne!(failed.code(), 0, "{verb}");
        assert!(failed.stderr.contains("192.168.77.99:6443"), "{verb}: {}", failed.stderr);
    }
    let failed = lab.lbctl(&["backends", "drain", "192.168.77.2:6443", "--service", "nope"]).unwrap();
    assert!(failed.code() != 0 && failed.stderr.contains("nope"), "{}", failed.stderr);
}

#[test]
fn a_garbage_or_truncated_state_file_is_set_aside_with_a_warning() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    lab.agent_config(fast).unwrap();
    let mut agent = running(&lab);
    operate(&lab, &["drain", &lab.master(0).address().to_string()]);
    let state_files = || -> Vec<_> {
        let entries = fs::read_dir(lab.dir().join("state")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("draining"))).collect()
    };
    let [file]: [_; 1] = eventually(SOON, "the intent is on disk", || {
        state_files().try_into().map_err(|files| format!("{files:?}"))
    })
    .unwrap();
    let whole = fs::read(&file).unwrap();
    for (what, content) in [("truncated", &whole[..whole.len() / 2]), ("garbage", b"\x00\xff not json {{{")] {
        agent.kill().unwrap();
        fs::write(&file, content).unwrap();
        agent = running(&lab);
        eventually(Duration::from_secs(2), "the agent warns", || {
            let log = agent.log();
            let warns =
                log.lines().any(|line| line.contains("WARN") && line.contains(file.to_str().unwrap()));
            if warns { Ok(()) } else { Err(log) }
        })
        .unwrap();
        let warnings = status(&lab)["warnings"].to_string();
        assert!(warnings.contains(file.to_str().unwrap()), "{what}: {warnings}");
        let set_aside = fs::read_dir(lab.dir().join("state")).unwrap().map(|entry| entry.unwrap().path());
        let kept = set_aside.filter(|path| *path != file).any(|path| fs::read(path).unwrap() == content);
        assert!(kept, "the {what} file is kept under another name");
        assert!(hundred(&lab).served("m1") > 10, "nothing is known of the drain");
    }
}

#[test]
fn a_port_for_metrics_that_cannot_be_had_is_told_and_keeps_no_node_from_its_masters() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    // TEST-NET-1 (RFC 5737), which is nobody's.
    lab.agent_config(|yaml| yaml["metrics"]["listen"] = "192.0.2.1:9464".into()).unwrap();
    let _agent = running(&lab);
    let warnings = status(&lab)["warnings"].to_string();
    assert_eq!(warnings.matches("Cannot assign requested address").count(), 1, "{warnings}");
    assert!(warnings.contains("failed to listen on 192.0.2.1:9464 for metrics"), "{warnings}");
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10);
}
