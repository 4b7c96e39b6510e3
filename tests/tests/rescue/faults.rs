//! With an agent at default settings no connect fails, whatever becomes of a master.

use std::time::Duration;

use lb_tests::clock::monotonic_us;
use lb_tests::lab::VIP;
use lb_tests::slowness::stretched;

use super::pace::{Asks, CUT, Client, Fault, KILLED, RESET, SLOWEST, STOPPED, UNREACHABLE, lab};
use crate::common::agent::{all_up, await_health};
use crate::common::quiet::alone;
use crate::common::{SOON, load::ms};

/// As long as a hung master may keep its connections, and longer.
const WATCHED: Duration = Duration::from_secs(5);

/// One master of three gets it, with and without something to ask.
fn nobody_fails(fault: Fault, bar: Option<Duration>) {
    let _turn = alone();
    let Some((lab, agent)) = lab("on") else { return };
    let master = lab.master(0);
    for (family, asks) in [("v4", Asks::Nothing), ("mapped", Asks::Whoami)] {
        let client = Client::start(&lab, family, asks);
        let since_us = monotonic_us();
        (fault.begin)(master).unwrap();
        let begun_us = monotonic_us();
        await_health(&agent, master.address(), "dead", SOON);
        client.run_on(WATCHED);
        let met = client.stop(since_us);
        met.tell(&format!("{}, {asks:?}", fault.what));
        assert!(met.failed_connects().is_empty(), "{}: {:?}", fault.what, met.failed_connects());
        let slowest = i64::try_from(met.slowest().as_millis()).unwrap();
        assert!(bar.is_none_or(|bar| slowest <= ms(bar)), "{}: slowest {slowest} ms", fault.what);
        assert_eq!(met.peers.len(), 1, "{:?}", met.peers);
        assert_eq!(met.peers[0].0, VIP);
        // A request that was on its way to the master at that moment is lost; no later one is, unless the master takes
        // connections and says nothing.
        if bar.is_some() {
            let later = met.failed_requests().into_iter().filter(|attempt| attempt.begin_us > begun_us);
            assert_eq!(later.collect::<Vec<_>>(), Vec::<&lb_tests::pace::Attempt>::new(), "{}", fault.what);
        }
        if fault.what == CUT.what {
            assert!(met.held_up() > 0, "nobody met the fault: {} connects", met.attempts.len());
        }
        (fault.end)(master).unwrap();
        all_up(&lab, &agent);
    }
}

#[test]
fn no_connect_fails_when_a_master_is_killed() {
    nobody_fails(KILLED, Some(SLOWEST));
}

#[test]
fn no_connect_fails_when_a_master_loses_power() {
    nobody_fails(CUT, Some(SLOWEST));
}

#[test]
fn no_connect_fails_when_a_master_says_that_its_port_is_unreachable() {
    nobody_fails(UNREACHABLE, Some(SLOWEST));
}

#[test]
fn no_connect_fails_when_a_firewall_resets_what_comes_to_a_master() {
    nobody_fails(RESET, Some(SLOWEST));
}

#[test]
fn no_connect_fails_when_a_master_hangs() {
    nobody_fails(STOPPED, None);
}

/// What the others show would be no news if it were so without.
#[test]
fn without_rescue_connects_to_a_master_that_lost_power_fail_or_wait() {
    let _turn = alone();
    let Some((lab, agent)) = lab("off") else { return };
    let client = Client::start(&lab, "v4", Asks::Nothing);
    let since_us = monotonic_us();
    lab.master(0).cut().unwrap();
    await_health(&agent, lab.master(0).address(), "dead", SOON);
    client.run_on(Duration::from_secs(1));
    let met = client.stop(since_us);
    met.tell("power loss, rescue off");
    assert!(!met.failed_connects().is_empty() || met.slowest() > stretched(SLOWEST), "{met:?}");
}
