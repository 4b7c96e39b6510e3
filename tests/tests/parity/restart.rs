//! What happens to the agent happens to nobody else.

use lb_tests::lab::VIP;
use serde_json::json;

use super::kernel::expect_kernel;
use super::setup::{CLIENTS, HELD, Setup, in_turn, service};
use crate::common::SOON;
use crate::common::agent::{await_health, await_serving, running};
use crate::common::load::{Load, assert_untouched, requests};
use crate::common::quiet::{alone, beside_others};

/// SIGKILL under load, a while without an agent, a new one: no request fails, no held connection ends.
pub fn restart(setup: Setup) {
    let _turn = alone();
    let Some((lab, mut agent)) = setup.running(2) else { return };
    let masters = [0, 1].map(|index| (lab.master(index), 1));
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(20);
    agent.kill().unwrap();
    load.more(40);
    expect_kernel(&lab, &masters);
    let _agent = running(&lab);
    load.more(40);
    expect_kernel(&lab, &masters);
    let report = load.stop();
    assert_untouched(&report);
    assert!(report.served("m1") > 0 && report.served("m2") > 0, "{report:?}");
}

/// A master that was dead before the restart gets nothing during it, whether or not the agent lived when it died.
pub fn restart_with_a_dead_master(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, mut agent)) = setup.running(3) else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|index| lab.master(index));
    m1.kill().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    expect_kernel(&lab, &[(m2, 1), (m3, 1)]);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(20);
    agent.kill().unwrap();
    let mut agent = lab.start_agent().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    load.more(20);
    assert_untouched(&load.stop());
    expect_kernel(&lab, &[(m2, 1), (m3, 1)]);

    agent.kill().unwrap();
    m2.kill().unwrap();
    let agent = lab.start_agent().unwrap();
    await_health(&agent, m2.address(), "dead", SOON);
    expect_kernel(&lab, &[(m3, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"m3": 10}));
}

/// What left the configuration while no agent ran leaves the kernel with the next one.
pub fn restart_with_a_shorter_config(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, mut agent)) = setup.running(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    agent.kill().unwrap();
    lab.agent_config(|config| {
        in_turn(config);
        service(config)["backends"].as_sequence_mut().unwrap().remove(0);
    })
    .unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m2], SOON);
    expect_kernel(&lab, &[(m2, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).raw["served"], json!({"m2": 10}));
}
