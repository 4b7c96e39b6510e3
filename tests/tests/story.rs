//! A cluster's life, as one of its workers lives it: from the first master to three, a death, a reboot, a master that leaves.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::agent::{await_backend, await_health, await_serving, fast};
use common::load::{Bounds, Load, assert_left, assert_untouched, figure, requests, unix_ms};
use common::quiet::alone;
use common::{SOON, kubeconfig, list};
use lb_tests::Lab;
use lb_tests::lab::VIP;
use lb_tests::pki::Valid;

const CLIENTS: u32 = 4;
/// So many that each of three masters has some, but for one time in thousands.
const HELD: u32 = 24;
/// What a killed master may cost: refused connects until the agent knows.
const KILLED: Duration = Duration::from_millis(100);
/// Far longer than an agent needs to end on SIGTERM.
const END: Duration = Duration::from_secs(5);

#[test]
fn a_worker_lives_through_the_whole_life_of_its_cluster() {
    let _turn = alone();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|n| lab.master(n));
    kubeconfig::write(&lab, Valid::Now);
    lab.agent_config(|yaml| {
        fast(yaml);
        let service = &mut yaml["services"][0];
        service["backends"] = serde_yaml::to_value([m1.address().to_string()]).unwrap();
        service["discovery"]["kubernetes"]["kubeconfig"] =
            kubeconfig::path(&lab).to_string_lossy().as_ref().into();
    })
    .unwrap();

    // The first master is there, and the worker joins through the virtual address before any agent runs.
    m1.start().unwrap();
    list(&lab, &[m1]);
    let once = lab.lbctl(&["run", "--once", "--wait", "60s"]).unwrap();
    assert_eq!(once.code(), 0, "{}", once.stderr);
    assert_eq!(requests(lab.node(), VIP, "v4", 5).served("m1"), 5, "kubeadm join");
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    let mut agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);

    // Two more masters join the cluster; nobody changes the worker's config.
    m2.start().unwrap();
    m3.start().unwrap();
    list(&lab, &[m1, m2, m3]);
    await_serving(&agent, &[m1, m2, m3], SOON);
    load.more(100);
    let quiet = load.stop();
    figure(&format!("one master to three: {} requests, {} failed", quiet.ok(), quiet.failed()));
    assert_untouched(&quiet);

    // The first one dies; later the cluster does not list it any more.
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    let killed = unix_ms();
    m1.kill().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    load.more(100);
    list(&lab, &[m2, m3]);
    // The agent is replaced meanwhile.
    agent.terminate(END).unwrap();
    load.more(100);
    agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m2, m3], SOON);
    load.more(100);
    let report = load.stop();
    figure(&format!("a death and a new agent: {} requests, {} failed", report.ok(), report.failed()));
    assert_left(m1, "killed", killed, Bounds::one(KILLED), &report, &report);

    // The worker reboots: its kernel forgets everything, its files stay. The config's only master is the dead one.
    agent.kill().unwrap();
    std::fs::remove_dir_all(lab.pins()).unwrap();
    let once = lab.lbctl(&["run", "--once", "--wait", "60s"]).unwrap();
    assert_eq!(once.code(), 0, "{}", once.stderr);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m2, m3], SOON);

    // The third master is taken out of the cluster: first it is not listed any more, then it ends.
    list(&lab, &[m2]);
    await_serving(&agent, &[m2], SOON);
    await_backend(&agent, m2.address(), "m2 serves", SOON, |backend| backend["source"] == "discovery");
    load.more(100);
    let rest = load.stop();
    figure(&format!("a reboot, and a master that leaves: {} requests, {} failed", rest.ok(), rest.failed()));
    assert_untouched(&rest);
    m3.terminate().unwrap();
    assert_eq!(requests(lab.node(), VIP, "v4", 50).served("m2"), 50);
}
