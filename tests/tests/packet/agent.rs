//! What happens to the agent happens to nobody else.

use std::time::Duration;

use lb_tests::Lab;

use super::setup::{clients, ready, running, started};
use crate::common::agent::unhurried;
use crate::common::load::{Load, assert_untouched, figure};
use crate::common::quiet::alone;

const CLIENTS: u32 = 3;
const HELD: u32 = 6;
/// Far longer than an agent needs to end on SIGTERM.
const END: Duration = Duration::from_secs(5);

fn loads(lab: &Lab) -> [(&'static str, Load); 3] {
    clients(lab).map(|(who, client)| (who, Load::on(lab, client, "v4", CLIENTS, HELD)))
}

/// No request failed, no connection ended.
fn assert_all_untouched(loads: [(&'static str, Load); 3]) {
    for (who, load) in loads {
        let report = load.stop();
        figure(&format!(
            "{who}: {} requests, {} failed, {} broken",
            report.ok(),
            report.failed(),
            report.broken()
        ));
        assert_untouched(&report);
    }
}

#[test]
fn nobody_notices_that_the_agent_was_killed_and_stayed_away() {
    let _turn = alone();
    let Some((lab, mut agent)) = running(2, unhurried) else { return };
    let loads = loads(&lab);
    loads.iter().for_each(|(_, load)| load.more(30));
    agent.kill().unwrap();
    loads[0].1.run_on(Duration::from_secs(3));
    let _agent = started(&lab);
    loads.iter().for_each(|(_, load)| load.more(30));
    assert_all_untouched(loads);
}

#[test]
fn nobody_notices_restarts_nor_programs_that_are_replaced() {
    let _turn = alone();
    let Some((lab, mut agent)) = running(2, unhurried) else { return };
    let loads = loads(&lab);
    loads.iter().for_each(|(_, load)| load.more(30));
    // Each start replaces the programs; every other one by those that tell what they decide.
    for arguments in [&[][..], &["--bpf-log", "debug"], &[], &["--bpf-log", "debug"], &[]] {
        let ended = agent.terminate(END).unwrap();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        agent = lab.spawn_agent(arguments).unwrap();
        agent.await_answer().unwrap();
        ready(&agent);
        loads.iter().for_each(|(_, load)| load.more(20));
    }
    assert_all_untouched(loads);
}
