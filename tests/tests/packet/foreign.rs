//! Filters of others on the hooks that ours are on: none takes the place of another.

use lb_tests::Lab;
use lb_tests::lab::VIP;

use super::setup::{clients, running, started};
use crate::common::load::{Load, assert_untouched, requests};
use crate::common::quiet::beside_others;

/// Where packets of forwarded clients come and go.
const INTERFACES: [&str; 3] = ["eth0", "eth1", "tap0"];
/// A program in BPF's classic form that returns 0: it has seen the packet, and the next one is asked.
const LOOKS: &str = "1,6 0 0 0";
/// One that returns -1: the packet is taken, and nobody behind it is asked.
const TAKES: &str = "1,6 0 0 4294967295";

fn tc(lab: &Lab, words: &[&str]) {
    lab.node().run(&[&["tc"], words].concat()).unwrap().success().unwrap();
}

/// Adds a filter to both directions of each interface.
fn filter(lab: &Lab, preference: &str, program: &str) {
    for interface in INTERFACES {
        for direction in ["ingress", "egress"] {
            let place = ["filter", "add", "dev", interface, direction, "pref", preference, "protocol", "all"];
            tc(lab, &[&place[..], &["bpf", "bytecode", program, "flowid", "1:1"]].concat());
        }
    }
}

/// The filters of this preference, as tc(8) shows them.
fn filters(lab: &Lab, preference: &str) -> Vec<String> {
    let show = |interface: &&str| {
        ["ingress", "egress"].map(|direction| {
            let shown =
                lab.node().run(&["tc", "filter", "show", "dev", interface, direction]).unwrap().stdout;
            let wanted = format!("pref {preference} ");
            shown.lines().filter(|line| line.contains(&wanted)).collect::<Vec<_>>().join("\n")
        })
    };
    INTERFACES.iter().flat_map(show).collect()
}

fn all_are_served(lab: &Lab, when: &str) {
    for (who, client) in clients(lab) {
        let report = requests(client, VIP, "v4", 4);
        assert_eq!(report.ok(), 4, "{who}, {when}: {report:?}");
    }
}

#[test]
fn filters_of_others_stay_and_ours_work_before_and_behind_them() {
    let _turn = beside_others();
    let Some((lab, agent)) = running(2, |_| ()) else { return };
    let first = "1";
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    for interface in INTERFACES {
        tc(&lab, &["qdisc", "add", "dev", interface, "clsact"]);
    }
    filter(&lab, first, LOOKS);
    let early = filters(&lab, first);
    assert!(early.iter().all(|shown| shown.contains("bytecode") || shown.contains("bpf")), "{early:?}");
    let mut agent = started(&lab);
    all_are_served(&lab, "behind a filter that looks");
    let load = Load::on(&lab, lab.vm(), "v4", 2, 4);
    let last = "49000";
    filter(&lab, last, TAKES);
    let late = filters(&lab, last);
    load.more(20);
    all_are_served(&lab, "before a filter that takes");
    agent.kill().unwrap();
    let agent = started(&lab);
    load.more(20);
    assert_untouched(&load.stop());
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    assert_eq!((filters(&lab, first), filters(&lab, last)), (early, late), "others' are as they were");
}
