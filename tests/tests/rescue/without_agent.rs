//! The kernel rescues by itself: while no agent is there, a dead master stays among those that connections are sent to,
//! and every third connect meets it.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::clock::monotonic_us;
use lb_tests::lab::VIP;
use lb_tests::slowness::stretched;

use super::pace::{Asks, CUT, Client, Fault, KILLED, Met, RESET, SLOWEST, UNREACHABLE, lab};
use crate::common::agent::running;
use crate::common::load::syn;
use crate::common::quiet::alone;

const WATCHED: Duration = Duration::from_secs(3);
/// Sooner than the first SYN would be sent again.
const AT_ONCE: Duration = Duration::from_millis(150);

/// What a client meets in three seconds of a fault without an agent.
fn met(fault: Fault, rescue: &str, family: &str) -> Option<Met> {
    let (lab, mut agent) = lab(rescue)?;
    let client = Client::start(&lab, family, Asks::Nothing);
    agent.kill().unwrap();
    let since_us = monotonic_us();
    (fault.begin)(lab.master(0)).unwrap();
    client.run_on(WATCHED);
    let met = client.stop(since_us);
    met.tell(&format!("{}, {family}, no agent, rescue {rescue}", fault.what));
    Some(met)
}

fn rescued(fault: Fault, family: &str) {
    let _turn = alone();
    let Some(met) = met(fault, "on", family) else { return };
    assert!(met.failed_connects().is_empty(), "{}: {:?}", fault.what, met.failed_connects());
    assert!(met.slowest() <= stretched(SLOWEST), "{}: slowest {:?}", fault.what, met.slowest());
}

#[test]
fn connects_to_a_killed_master_go_elsewhere() {
    rescued(KILLED, "v4");
}

#[test]
fn connects_to_a_master_that_lost_power_go_elsewhere() {
    rescued(CUT, "mapped");
}

#[test]
fn connects_to_a_master_whose_port_is_said_to_be_unreachable_go_elsewhere() {
    rescued(UNREACHABLE, "v4");
}

#[test]
fn connects_that_a_firewall_resets_go_elsewhere() {
    rescued(RESET, "mapped");
}

/// What the others show would be no news if it were so without.
#[test]
fn without_rescue_every_third_connect_fails() {
    let _turn = alone();
    for fault in [KILLED, UNREACHABLE, RESET] {
        let Some(met) = met(fault, "off", "v4") else { return };
        let (failed, all) = (met.failed_connects().len(), met.attempts.len());
        assert!(failed > all / 6, "{}: {failed} of {all} connects failed", fault.what);
    }
}

/// What comes back from another master in the name of one on this node would be dropped as a martian: a connect to that one is
/// refused as it would be without rescue, instead of waiting for nothing.
#[test]
fn a_connect_to_a_killed_master_on_the_node_itself_is_refused_at_once() {
    let _turn = alone();
    let Some(lab) = Lab::builder().masters(2).local_master().build_or_skip().unwrap() else { return };
    lab.agent_config(|_| ()).unwrap();
    let mut agent = running(&lab);
    agent.kill().unwrap();
    lab.master(2).kill().unwrap();
    let results: Vec<_> = (0..30).map(|_| syn(lab.node(), VIP)).collect();
    let refused = results.iter().filter(|(result, _)| result == "ECONNREFUSED").count();
    assert!(refused > 0, "none went to the killed one: {results:?}");
    let is_quick = |(result, took): &(String, u64)| {
        ["connected", "ECONNREFUSED"].contains(&result.as_str())
            && Duration::from_millis(*took) < stretched(AT_ONCE)
    };
    assert!(results.iter().all(is_quick), "{results:?}");
}
