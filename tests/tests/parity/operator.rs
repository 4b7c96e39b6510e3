//! What an operator asks for.

use lb_tests::Lab;
use lb_tests::lab::{Master, VIP};
use serde_json::json;

use super::kernel::expect_kernel;
use super::setup::{HELD, Setup};
use crate::common::agent::{listed, of_address};
use crate::common::load::{Load, requests, unix_ms};
use crate::common::quiet::beside_others;

fn operate(lab: &Lab, verb: &str, master: &Master) {
    lab.lbctl(&["backends", verb, &master.address().to_string()]).unwrap().success().unwrap();
}

/// A drained master keeps its connections and gets no new one.
pub fn drain(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    let held = Load::start(&lab, "v4", 0, HELD);
    operate(&lab, "drain", m1);
    expect_kernel(&lab, &[(m1, 0), (m2, 1)]);
    let seen = of_address(&listed(&lab), m1.address()).unwrap();
    assert_eq!((&seen["admin"], &seen["health"]), (&json!("draining"), &json!("up")), "{seen}");
    assert!(seen["connections"]["active"].as_u64() > Some(0), "its connections are counted on: {seen}");
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"m2": 10}));
    operate(&lab, "enable", m1);
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    let report = requests(lab.node(), VIP, "v4", 10);
    assert_eq!(report.raw["served"], json!({"m1": 5, "m2": 5}), "{report:?}");
    let held = held.stop();
    assert_eq!(held.broken(), 0, "{held:?}");
}

/// A disabled master loses its connections and gets none until it is enabled.
pub fn disable(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    let held = Load::start(&lab, "mapped", 0, HELD);
    let before = unix_ms();
    operate(&lab, "disable", m1);
    expect_kernel(&lab, &[(m2, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"m2": 10}));
    let held = held.stop();
    let ends = held.ends("m1", before);
    assert!(!ends.is_empty() && held.broken() == ends.len() as u64, "only those of m1 end: {held:?}");
    operate(&lab, "enable", m1);
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    let report = requests(lab.node(), VIP, "v4", 10);
    assert_eq!(report.raw["served"], json!({"m1": 5, "m2": 5}), "{report:?}");
}
