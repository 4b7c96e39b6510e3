//! One client that sends nothing but SYNs harms nobody else.

use std::time::Duration;

use lb_tests::lab::{Agent, VIP};
use lb_tests::slowness::{stretched, thinned};
use serde_json::Value;

use super::setup::{clients, running};
use super::table::{brief, dropped, view};
use crate::common::load::{Load, figure, requests};
use crate::common::quiet::alone;

/// By the issue.
const SYNS: u32 = 200_000;
const HELD: u32 = 20;
/// Requests of each client while what the flood left is still in the table. None may wait a second, as one whose SYN is dropped
/// does: with ports that a flood can use up, 2 to 17 of so many did.
const AFTERWARDS: u32 = 1000;
/// By how much the agent's memory may grow meanwhile.
const MAX_GROWTH: u64 = 8 << 20;

/// What the agent has in memory, in bytes.
fn resident(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// How many connections of this kind there is room for.
fn room(view: &Value, kind: &str) -> u64 {
    view["capacity"][kind].as_u64().unwrap()
}

#[test]
fn a_flood_of_syns_ends_nobodys_connection_and_fills_nothing_but_its_own_table() {
    let _turn = alone();
    let Some((lab, agent)) = running(2, |_| ()) else { return };
    // Nobody resets what the masters answer: the connections stay half-open, as those of a real flood.
    let silent = "table ip flood {\nchain input {\ntype filter hook input priority 0\n\
                  ip saddr 10.103.97.2 tcp flags & (syn|ack) == syn|ack drop\n}\n}";
    lab.outsider().run(&["nft", silent]).unwrap().success().unwrap();
    let held = [lab.vm(), lab.node()].map(|client| Load::on(&lab, client, "v4", 1, HELD / 2));
    let (before, memory) = (view(&lab), resident(&agent));
    let count = thinned(SYNS).to_string();
    let flood = lab.outsider().client(&["flood", "--to", VIP, "--count", &count]).unwrap();
    assert_eq!(flood["refused"], 0, "{flood}");
    held[0].run_on(stretched(Duration::from_secs(1)));
    let (after, grown) = (view(&lab), resident(&agent).saturating_sub(memory));
    let shown = after["total"].as_u64().unwrap();
    figure(&format!(
        "{flood}; {shown} connections in the tables, the agent grew by {} KiB; {after}",
        grown >> 10,
        after = brief(&after)
    ));
    assert!(shown <= room(&after, "open") + room(&after, "opening"), "{shown} connections");
    assert!(grown <= MAX_GROWTH, "the agent grew by {grown} bytes");
    let begun = |view: &Value| view["counted"]["begun"].as_u64().unwrap();
    assert!(begun(&after) > begun(&before), "the flood was seen: {}", brief(&after));
    assert!(dropped(&after, "displaced") > dropped(&before, "displaced"), "{}", brief(&after));
    for held in held {
        held.more(20);
        let report = held.stop();
        // Connects that the flood meets may fail: it fills the masters' own queues as well.
        figure(&format!(
            "{} of {} connects failed meanwhile",
            report.failed(),
            report.ok() + report.failed()
        ));
        assert_eq!(report.broken(), 0, "{report:?}");
    }
    lab.outsider().run(&["nft", "flush", "ruleset"]).unwrap().success().unwrap();
    for (who, client) in clients(&lab) {
        let report = requests(client, VIP, "v4", thinned(AFTERWARDS));
        assert_eq!((report.ok(), report.failed()), (thinned(AFTERWARDS).into(), 0), "{who}: {report:?}");
    }
}
