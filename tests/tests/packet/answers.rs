//! By which interface the node's own processes receive answers, and who may be there for it to be the loopback interface.

use lb_tests::Lab;
use lb_tests::lab::{VIP, VIP_V6};
use lb_tests::wait::eventually;

use super::counting::ReceivedByLo;
use super::setup::{Yaml, both_families, builder, in_turn, started};
use super::tcx::{Foreign, has_tcx};
use crate::common::SOON;
use crate::common::agent::{status, unhurried};
use crate::common::load::{Load, figure, syn};
use crate::common::quiet::alone;
use crate::common::wires::checksum_errors;

/// 1 MiB in each direction is answered with this many packets at least.
const MANY: u32 = 700;
/// What else the loopback interface receives meanwhile: the agent's own proofs, and requests to it.
const FEW: u32 = 100;
const STRICT: &str = "rp_filter is strict: 10.103.97.2 on eth0";

/// A lab whose wires carry no packets of several segments.
fn lab(change: impl FnOnce(&Lab, &mut Yaml)) -> Option<Lab> {
    let lab = builder().masters(2).checked_wires().build_or_skip().unwrap()?;
    lab.agent_config(|config| {
        in_turn(config);
        unhurried(config);
        change(&lab, config);
    })
    .unwrap();
    Some(lab)
}

fn sh(lab: &Lab, script: &str) {
    lab.node().run(&["sh", "-c", script]).unwrap().success().unwrap();
}

fn filter(lab: &Lab, value: u32) {
    sh(lab, &format!("echo {value} > /proc/sys/net/ipv4/conf/eth0/rp_filter"));
}

/// How many packets the loopback interface receives while a process exchanges 1 MiB with a master in each direction.
fn received_by_lo(lab: &Lab, to: &str, family: &str) -> u32 {
    let counter = ReceivedByLo::on(lab);
    let report = lab.node().client(&["bulk", "--to", to, "--family", family]).unwrap();
    for direction in ["up", "down"] {
        assert!(report[direction][0]["server"].is_string(), "{report}");
    }
    figure(&format!("{family}: {} packets received by lo", counter.count()));
    counter.count()
}

#[track_caller]
fn await_status(lab: &Lab, said: &str) {
    eventually(SOON, said, || {
        let status = status(lab).to_string();
        let at = status.find("\"answers\"").map(|at| status.split_at(at).1);
        if at.is_some_and(|fact| fact.contains(said)) { Ok(()) } else { Err(status) }
    })
    .unwrap();
}

#[track_caller]
fn in_place(lab: &Lab) {
    await_status(lab, "received where they come in");
    assert!(received_by_lo(lab, VIP, "v4") < FEW);
}

#[track_caller]
fn by_lo(lab: &Lab, said: &str) {
    await_status(lab, said);
    assert!(received_by_lo(lab, VIP, "v4") > MANY);
}

#[test]
fn they_are_received_where_they_come_in_while_nobody_would_miss_them_and_the_kernel_takes_them() {
    let _turn = alone();
    let Some(lab) = lab(|lab, config| both_families(lab)(config)) else { return };
    let agent = started(&lab);
    let loads = ["v4", "mapped"].map(|family| Load::on(&lab, lab.node(), family, 0, 4));
    in_place(&lab);
    assert!(received_by_lo(&lab, VIP_V6, "v6") < FEW);
    sh(&lab, "nft add table inet theirs");
    by_lo(&lab, "nftables inet theirs");
    assert!(received_by_lo(&lab, VIP_V6, "v6") > MANY);
    sh(&lab, "nft delete table inet theirs");
    in_place(&lab);
    filter(&lab, 1);
    by_lo(&lab, STRICT);
    // There is no such setting for IPv6.
    assert!(received_by_lo(&lab, VIP_V6, "v6") < FEW);
    // Loose: the VIP is reached by some interface.
    filter(&lab, 2);
    in_place(&lab);
    drop(agent);
    assert!(received_by_lo(&lab, VIP, "v4") < FEW, "without an agent it stays as it was");
    filter(&lab, 1);
    assert_ne!(
        syn(lab.node(), VIP).0,
        "connected",
        "answers are dropped until an agent asks the kernel again"
    );
    let _agent = started(&lab);
    by_lo(&lab, STRICT);
    for load in loads {
        let report = load.stop();
        assert_eq!(report.broken(), 0, "{report:?}");
    }
    assert_eq!(checksum_errors(&lab), Vec::<String>::new());
}

#[test]
fn programs_of_others_on_the_loopback_interface_see_them() {
    let _turn = alone();
    if !has_tcx() {
        return;
    }
    let Some(lab) = lab(|_, _| ()) else { return };
    let _agent = started(&lab);
    in_place(&lab);
    let behind = Foreign::behind(&lab, "lo");
    by_lo(&lab, "program behind on lo");
    assert!(behind.count() > MANY, "{}", behind.count());
    drop(behind);
    in_place(&lab);
}

#[test]
fn they_are_received_where_they_come_in_though_nothing_is_forwarded() {
    let _turn = alone();
    let Some(lab) = lab(|_, config| config["scope"] = "host".into()) else { return };
    let _agent = started(&lab);
    in_place(&lab);
}

#[test]
fn without_the_shortcut_they_are_received_by_the_loopback_interface() {
    let _turn = alone();
    let Some(lab) = lab(|_, config| config["packet"]["shortcut"] = "off".into()) else { return };
    let _agent = started(&lab);
    by_lo(&lab, "received by lo");
}
