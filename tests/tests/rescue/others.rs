//! Who gets a connection that is sent on: somebody who can answer it, where there is anybody. Without an agent, so that those
//! who are dead stay among those that serve and chance would pick them.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::clock::monotonic_us;
use lb_tests::lab::Builder;
use lb_tests::slowness::stretched;

use super::pace::{Asks, CUT, Client, Fault, KILLED, SLOWEST, with};
use crate::common::quiet::alone;

const WATCHED: Duration = Duration::from_secs(5);

/// While the first `dead` masters are dead nobody fails, and connects did meet the dead.
fn nobody_fails(builder: Builder, dead: usize, fault: Fault, family: &str) {
    let _turn = alone();
    let Some((lab, mut agent)) = with(builder, "on") else { return };
    let client = Client::start(&lab, family, Asks::Nothing);
    agent.kill().unwrap();
    let since_us = monotonic_us();
    lab.masters()[..dead].iter().for_each(|master| (fault.begin)(master).unwrap());
    client.run_on(WATCHED);
    let met = client.stop(since_us);
    met.tell(&format!("{dead} of {} masters, {}, {family}", lab.masters().len(), fault.what));
    assert!(met.failed_connects().is_empty(), "{}: {:?}", fault.what, met.failed_connects());
    assert!(met.slowest() <= stretched(SLOWEST), "{}: slowest {:?}", fault.what, met.slowest());
    let (held_up, all) = (met.held_up(), met.attempts.len());
    assert!(held_up > all / 6, "of {all} connects only {held_up} met the dead");
}

/// One on the node, which cannot answer in the name of another.
fn on_a_master() -> Builder {
    Lab::builder().masters(2).local_master()
}

#[test]
fn on_a_master_connects_to_a_killed_one_go_to_the_third() {
    nobody_fails(on_a_master(), 1, KILLED, "v4");
}

#[test]
fn on_a_master_connects_to_one_that_lost_power_go_to_the_third() {
    nobody_fails(on_a_master(), 1, CUT, "mapped");
}

#[test]
fn of_three_masters_the_one_that_is_left_is_found_when_two_are_killed() {
    nobody_fails(Lab::builder().masters(3), 2, KILLED, "v4");
}

#[test]
fn of_three_masters_the_one_that_is_left_is_found_when_two_lose_power() {
    nobody_fails(Lab::builder().masters(3), 2, CUT, "v4");
}

#[test]
fn beside_a_master_on_the_node_the_only_remote_one_left_is_found() {
    nobody_fails(Lab::builder().masters(3).local_master(), 2, KILLED, "v4");
}
