//! What becomes of a connection after it was rescued.

use std::time::Duration;

use lb_tests::lab::VIP;

use super::pace::{CUT, Fault, KILLED, lab};
use crate::common::SOON;
use crate::common::agent::{all_up, await_health};
use crate::common::load::{Load, figure, unix_ms};
use crate::common::quiet::alone;

/// In turn, so that a third of them meets the dead master.
const HELD: u32 = 12;
/// By the issue.
const GOES_ON: Duration = Duration::from_secs(10);
/// From the end of a master to that of its connections, at default settings.
const ENDED: Duration = Duration::from_secs(3);

/// Connections that begin when a master has just died outlive the verdict on it, and end with the master that they were
/// sent to.
fn live_and_end(fault: Fault) {
    let _turn = alone();
    let Some((lab, agent)) = lab("on") else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|index| lab.master(index));
    (fault.begin)(m1).unwrap();
    let held = Load::start(&lab, "v4", 0, HELD);
    await_health(&agent, m1.address(), "dead", SOON);
    held.run_on(GOES_ON);
    (fault.end)(m1).unwrap();
    all_up(&lab, &agent);
    // One after the other, so that there is always somebody else and the verdict comes as soon as it can.
    let mut moments = Vec::new();
    for master in [m2, m3] {
        moments.push((master, unix_ms()));
        master.cut().unwrap();
        await_health(&agent, master.address(), "dead", SOON);
        held.run_on(Duration::from_millis(500));
    }
    let held = held.stop();
    assert_eq!(held.held("m1"), 0, "the dead one serves nobody: {held:?}");
    assert_eq!(held.broken(), u64::from(HELD), "each ends with its master: {held:?}");
    for (master, moment) in moments {
        let ends = held.ends(master.name(), moment);
        figure(&format!(
            "{}: {} connections to {} ended after {ends:?} ms",
            fault.what,
            ends.len(),
            master.name()
        ));
        assert_eq!(ends.len() as u64, held.held(master.name()));
        let in_time = 0..=crate::common::load::ms(ENDED);
        assert!(ends.iter().all(|end| in_time.contains(end)), "not before, and soon: {held:?}");
    }
}

#[test]
fn connections_that_began_when_a_master_lost_power_live_and_end_with_their_own() {
    live_and_end(CUT);
}

/// Here the kernel alone must do it: without an agent the refusal is no verdict.
#[test]
fn connections_that_a_killed_master_refused_live_and_end_with_their_own() {
    let _turn = alone();
    let Some((lab, mut agent)) = lab("on") else { return };
    agent.kill().unwrap();
    (KILLED.begin)(lab.master(0)).unwrap();
    let held = Load::start(&lab, "v4", 0, HELD);
    let agent = lab.start_agent().unwrap();
    await_health(&agent, lab.master(0).address(), "dead", SOON);
    held.run_on(GOES_ON);
    let moment = unix_ms();
    lab.master(1).cut().unwrap();
    await_health(&agent, lab.master(1).address(), "dead", SOON);
    held.run_on(Duration::from_millis(500));
    let peers = lab.node().run(&["ss", "-Htn", "dst", VIP]).unwrap().stdout;
    let held = held.stop();
    assert_eq!((held.held("m1"), held.held("m2") + held.held("m3")), (0, u64::from(HELD)), "{held:?}");
    let ends = held.ends("m2", moment);
    figure(&format!("{} connections to m2 ended after {ends:?} ms", ends.len()));
    assert_eq!(ends.len() as u64, held.held("m2"), "{held:?}\n{peers}");
    assert_eq!(held.broken(), held.held("m2"), "those to m3 go on: {held:?}");
}
