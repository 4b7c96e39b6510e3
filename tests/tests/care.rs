//! `lbctl care` in the place of lvscare: what its static pod and its commands ask for happens.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::agent::{all_up, await_health, await_serving, listed};
use common::care::{clean, pod, started};
use common::load::{Bounds, Load, assert_left, assert_untouched, requests, syn, unix_ms};
use common::quiet::{alone, beside_others};
use common::traces::Traces;
use common::{SOON, lab};
use lb_tests::Lab;
use lb_tests::lab::VIP;

/// As for an agent with a config: from a SIGKILL on.
const CRASH_BOUND: Duration = Duration::from_millis(100);
const HELD: u32 = 24;

#[test]
fn a_sealos_pod_is_served_through_its_virtual_address_and_a_dead_master_leaves() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let hosts = std::fs::read(lab.hosts_file()).unwrap();
    let agent = started(&lab, &[]);
    all_up(&lab, &agent);
    let calm = Load::start(&lab, "v4", 2, 6);
    calm.more(100);
    assert_untouched(&calm.stop());

    let held = Load::start(&lab, "v4", 0, HELD);
    let load = Load::start(&lab, "v4", 4, 0);
    load.more(100);
    let killed = unix_ms();
    lab.master(1).kill().unwrap();
    await_serving(&agent, &[lab.master(0), lab.master(2)], SOON);
    load.more(300);
    let (load, held) = (load.stop(), held.stop());
    assert_left(lab.master(1), "SIGKILL", killed, Bounds::one(CRASH_BOUND), &load, &held);

    lab.master(1).start().unwrap();
    all_up(&lab, &agent);
    assert!(requests(lab.node(), VIP, "v4", 60).served("m2") > 0, "it is back");
    assert_eq!(std::fs::read(lab.hosts_file()).unwrap(), hosts, "the hosts file is not care's");
    assert!(!agent.log().contains("any more"), "nothing of a pod's is without meaning: {}", agent.log());
}

#[test]
fn a_master_that_answers_401_serves_only_where_health_status_says_so() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let agent = started(&lab, &[]);
    all_up(&lab, &agent);
    lab.master(0).control("/misbehave/unauthorized").unwrap();
    await_health(&agent, lab.master(0).address(), "notReady", SOON);
    await_serving(&agent, &[lab.master(1)], SOON);
    drop(agent);

    let agent = started(&lab, &["--health-status", "401"]);
    all_up(&lab, &agent);
}

#[test]
fn run_once_leaves_a_node_behind_that_works_and_exits_3_where_nobody_is_healthy() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    let once = || pod(&lab, &["--run-once"]).wait(SOON).unwrap();
    let ended = once();
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    lab.masters().iter().for_each(|master| master.start().unwrap());
    let ended = once();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let report = requests(lab.node(), VIP, "v4", 60);
    assert_eq!((report.ok(), report.failed()), (60, 0), "{report:?}");
    assert_eq!(listed(&lab).len(), 3);
}

#[test]
fn clean_leaves_the_node_as_it_was_and_refuses_while_the_pod_runs() {
    let _turn = alone();
    let Some(lab) = lab(1) else { return };
    let before = Traces::of(&lab);
    let agent = started(&lab, &[]);
    all_up(&lab, &agent);
    let clean = || clean(&lab, &[]).wait(SOON).unwrap();
    let refused = clean();
    assert_eq!(refused.code(), 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("the agent is running"), "{}", refused.stderr);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10, "it goes on");
    drop(agent);
    let ended = clean();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(Traces::of(&lab), before);
    let (result, _) = syn(lab.node(), VIP);
    assert_eq!(result, "ENETUNREACH", "the virtual address is nobody's");
}
