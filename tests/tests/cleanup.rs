//! `lbctl cleanup` leaves the node as it was before the first start.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::agent::{named, running};
use common::lab;
use common::load::{Load, assert_untouched, requests, syn};
use common::quiet::{alone, beside_others};
use common::traces::Traces;
use lb_tests::lab::VIP;
use lb_tests::{Lab, binaries};

const FOREIGN_VIP: &str = "10.103.97.9:6443";

fn cleanup(lab: &Lab) {
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
}

#[test]
fn cleanup_leaves_no_link_pin_socket_or_hosts_line_behind() {
    // `bpftool link list` shows every lab's links.
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(|_| ()).unwrap();
    let before = Traces::of(&lab);
    let agent = running(&lab);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10);
    lab.lbctl(&["backends", "drain", &lab.master(0).address().to_string()]).unwrap().success().unwrap();
    named(&lab);
    let during = Traces::of(&lab);
    assert_ne!(during.links, before.links);
    assert!(during.pins.len() > 10, "{during:?}");
    drop(agent);
    cleanup(&lab);
    assert_eq!(Traces::of(&lab), before);
    cleanup(&lab);
    assert_eq!(Traces::of(&lab), before, "a second cleanup finds nothing to do");
    let (result, _) = syn(lab.node(), VIP);
    assert_eq!(result, "ENETUNREACH", "the virtual address is nobody's");
}

#[test]
fn cleanup_touches_no_other_program_on_the_same_cgroup() {
    let _turn = alone();
    let Some(lab) = lab(2) else { return };
    // Programs that are not ours: links and pins of another owner, who balances another address.
    let config = fs::read_to_string(
        lab.agent_config(|yaml| {
            yaml["services"][0]["vip"] = FOREIGN_VIP.into();
            yaml["bpffs"] = lab.pins().with_file_name("foreign").to_str().unwrap().into();
            yaml["stateDir"] = lab.dir().join("foreign-state").to_str().unwrap().into();
            yaml["admin"]["socket"] = lab.dir().join("foreign.sock").to_str().unwrap().into();
            yaml["hosts"]["manage"] = false.into();
        })
        .unwrap(),
    );
    let foreign = lab.dir().join("foreign.yaml");
    fs::write(&foreign, config.unwrap()).unwrap();
    lab.agent_config(|_| ()).unwrap();
    let lbctl = binaries::lbctl().unwrap();
    let words =
        [lbctl.to_str().unwrap(), "--config", foreign.to_str().unwrap(), "run", "--once", "--wait", "10s"];
    lab.node().run(&words).unwrap().success().unwrap();
    assert_eq!(requests(lab.node(), FOREIGN_VIP, "v4", 10).ok(), 10);

    let before = Traces::of(&lab);
    let agent = running(&lab);
    let load = Load::start(&lab, "v4", 1, 2);
    load.more(20);
    assert_untouched(&load.stop());
    assert_ne!(Traces::of(&lab), before);
    drop(agent);
    cleanup(&lab);
    assert_eq!(Traces::of(&lab), before);
    let report = requests(lab.node(), FOREIGN_VIP, "v4", 10);
    assert_eq!(report.ok(), 10, "the foreign programs still work: {report:?}");
}

#[test]
fn every_byte_of_an_odd_hosts_file_is_the_same_after_cleanup() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let long = format!("127.0.0.1 localhost\n{}", "# a long comment on this line\n".repeat(35_000));
    let files = BTreeMap::from([
        ("without a last newline", "127.0.0.1 localhost\n10.0.0.1 last"),
        ("with CRLF", "127.0.0.1 localhost\r\n# remark\r\n10.0.0.1 other\r\n"),
        (
            "with a foreign line for the name",
            "10.9.9.9 apiserver.cluster.local other # old\n127.0.0.1 localhost\n",
        ),
        ("of 1 MiB", long.as_str()),
        ("empty", ""),
    ]);
    for (what, content) in files {
        fs::write(lab.hosts_file(), content).unwrap();
        let agent = running(&lab);
        named(&lab);
        drop(agent);
        cleanup(&lab);
        let after = fs::read_to_string(lab.hosts_file()).unwrap();
        assert!(
            after == content,
            "a file {what} is {} bytes after cleanup, {} before",
            after.len(),
            content.len()
        );
    }
}

#[test]
fn a_missing_hosts_file_is_made_and_is_missing_again_after_cleanup() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    fs::remove_file(lab.hosts_file()).unwrap();
    let agent = running(&lab);
    named(&lab);
    drop(agent);
    cleanup(&lab);
    assert!(!lab.hosts_file().exists());
}

#[test]
fn cleanup_on_a_node_that_never_had_an_agent_changes_nothing() {
    let _turn = alone();
    let Some(lab) = lab(0) else { return };
    lab.agent_config(|yaml| yaml["services"][0]["backends"] = vec!["192.168.77.2:6443"].into()).unwrap();
    let before = Traces::of(&lab);
    cleanup(&lab);
    assert_eq!(Traces::of(&lab), before);
}
