//! Masters that die, fall silent or come back.

use std::time::Duration;

use lb_tests::Lab;
use lb_tests::lab::{Agent, Master, VIP};
use lb_tests::slowness::stretched;
use serde_json::json;

use super::kernel::expect_kernel;
use super::setup::{HELD, Setup, Yaml, await_connect, in_turn, loads, service, yaml};
use crate::common::agent::{
    all_up, await_backend, await_health, await_serving, fast_fall, fast_rise, listed, of_address, running,
};
use crate::common::load::{Bounds, Load, assert_left, figure, ms, requests, syn, unix_ms};
use crate::common::quiet::{alone, beside_others};
use crate::common::{SOON, opened};

/// From a SIGKILL to the last failure and the end of the last held connection.
const CRASH_BOUND: Duration = Duration::from_millis(100);
/// How soon a connect fails for which there is nobody.
const AT_ONCE: Duration = Duration::from_millis(50);
/// From the start of a master to the first connect that succeeds, beside the probes.
const BACK: Duration = Duration::from_millis(200);

/// SIGKILL: nothing new goes to it, and its connections are gone.
pub fn crash(setup: Setup) {
    let _turn = alone();
    let Some((lab, agent)) = setup.running(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    let (held, load) = loads(&lab, "v4");
    load.more(40);
    let killed = unix_ms();
    m1.kill().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    expect_kernel(&lab, &[(m2, 1)]);
    load.more(40);
    assert_left(m1, "SIGKILL", killed, Bounds::one(CRASH_BOUND), &load.stop(), &held.stop());
    assert_out(&lab, m1, &["connection refused"]);
}

/// The link is cut: packets vanish, nobody is told.
pub fn power_loss(setup: Setup) {
    let _turn = alone();
    let Some((lab, agent)) = setup.alert(2) else { return };
    silence(&lab, &agent, "cut link", Master::cut, "v4");
}

/// SIGSTOP: the kernel behind it accepts connections, nobody answers. With sockets as Go and Java open them.
pub fn hang(setup: Setup) {
    let _turn = alone();
    let Some((lab, agent)) = setup.alert(2) else { return };
    silence(&lab, &agent, "SIGSTOP", Master::stop, "mapped");
    let m1 = lab.master(0);
    m1.cont().unwrap();
    all_up(&lab, &agent);
    expect_kernel(&lab, &[(m1, 1), (lab.master(1), 1)]);
}

fn silence(lab: &Lab, agent: &Agent, what: &str, fault: fn(&Master) -> anyhow::Result<()>, family: &str) {
    let (m1, m2) = (lab.master(0), lab.master(1));
    expect_kernel(lab, &[(m1, 1), (m2, 1)]);
    let (held, load) = loads(lab, family);
    load.more(40);
    let moment = unix_ms();
    fault(m1).unwrap();
    await_health(agent, m1.address(), "dead", fast_fall() + SOON);
    let verdict = unix_ms() - moment;
    expect_kernel(lab, &[(m2, 1)]);
    load.more(40);
    assert_left(m1, what, moment, Bounds::one(fast_fall()), &load.stop(), &held.stop());
    figure(&format!("{what}: dead after {verdict} ms"));
    assert_out(lab, m1, &["host is silent", "timed out"]);
}

/// The agent's word: dead, and one of these reasons.
fn assert_out(lab: &Lab, master: &Master, reasons: &[&str]) {
    let seen = of_address(&listed(lab), master.address()).unwrap();
    assert_eq!((&seen["health"], &seen["serving"]), (&json!("dead"), &json!(false)), "{seen}");
    assert!(reasons.iter().any(|why| seen["reason"].as_str().unwrap().contains(why)), "{seen}");
}

/// Masters that were killed and cut off serve again once they are back.
pub fn recovery(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, agent)) = setup.running(3) else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|index| lab.master(index));
    m1.kill().unwrap();
    m2.cut().unwrap();
    await_serving(&agent, &[m3], SOON);
    for master in [m1, m2] {
        await_health(&agent, master.address(), "dead", SOON);
    }
    expect_kernel(&lab, &[(m3, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 12).raw["served"], json!({"m3": 12}));
    m1.start().unwrap();
    m2.mend().unwrap();
    all_up(&lab, &agent);
    expect_kernel(&lab, &[(m1, 1), (m2, 1), (m3, 1)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 12).raw["served"], json!({"m1": 4, "m2": 4, "m3": 4}));
}

/// With `slowStart` a master that is back has a tenth of its weight at first, and all of it without.
pub fn slow_start(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    let slowly = |config: &mut Yaml| {
        in_turn(config);
        service(config)["slowStart"] = "1h".into();
    };
    lab.agent_config(slowly).unwrap();
    let agent = running(&lab);
    let (m1, m2) = (lab.master(0), lab.master(1));
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    m1.kill().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    m1.start().unwrap();
    await_backend(&agent, m1.address(), "up, in slow start", SOON, |backend| {
        backend["health"] == "up" && backend["reason"] == "slow start: 1/10 of its weight"
    });
    expect_kernel(&lab, &[(m1, 1), (m2, 10)]);
    assert_eq!(requests(lab.node(), VIP, "v4", 22).raw["served"], json!({"m1": 2, "m2": 20}));
    lab.agent_config(in_turn).unwrap();
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
}

/// With `rebalance` connections that are older than a master's return end one by one, and later ones do not.
pub fn rebalance(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(3) else { return };
    lab.agent_config(|config| {
        in_turn(config);
        service(config)["rebalance"] = yaml(json!({"perMinute": 240}));
    })
    .unwrap();
    let agent = running(&lab);
    let (m1, m2, m3) = (lab.master(0), lab.master(1), lab.master(2));
    m1.kill().unwrap();
    await_serving(&agent, &[m2, m3], SOON);
    let old = Load::start(&lab, "v4", 0, HELD);
    m1.start().unwrap();
    await_serving(&agent, &[m1, m2, m3], SOON);
    let back = unix_ms();
    let new = Load::start(&lab, "mapped", 0, HELD);
    old.run_on(stretched(Duration::from_secs(3)));
    let (old, new) = (old.stop(), new.stop());
    let ends = [old.ends("m2", back), old.ends("m3", back)].concat();
    figure(&format!("connections to m2 and m3 ended {ends:?} ms after m1 was back"));
    assert_eq!(old.broken(), u64::from(HELD), "each of them ends: {old:?}");
    assert_eq!(new.broken(), 0, "those begun afterwards stay: {new:?}");
    let took = ends.iter().max().unwrap() - ends.iter().min().unwrap();
    assert!(took >= 500, "no faster than the pace, 125 to 375 ms from one to the next: {ends:?}");
}

/// With nobody left connects fail at once, and succeed again with the first master that is back.
pub fn all_down(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, agent)) = setup.running(2) else { return };
    lab.masters().iter().for_each(|master| master.kill().unwrap());
    await_serving(&agent, &[], SOON);
    for master in lab.masters() {
        await_health(&agent, master.address(), "dead", SOON);
    }
    expect_kernel(&lab, &[]);
    for family in ["v4", "mapped"] {
        let report = lab.node().client(&["syn", "--to", VIP, "--family", family]).unwrap();
        figure(&format!("{family}: {report}"));
        // EPERM where the kernel is older than 5.18; IPVS answers as for a port that nobody listens on.
        let refusals = ["EHOSTUNREACH", "ECONNREFUSED", "EPERM"];
        assert!(refusals.contains(&report["result"].as_str().unwrap()), "{family}: {report}");
        assert!(report["ms"].as_i64() <= Some(ms(AT_ONCE)), "{family}: {report}");
    }
    let (result, _) = syn(lab.node(), VIP);
    assert_ne!(result, "connected");
    let started = unix_ms();
    lab.master(1).start().unwrap();
    await_connect(&lab, VIP, "a connect succeeds", fast_rise() + BACK);
    figure(&format!("served again {} ms after the start of a master", unix_ms() - started));
    expect_kernel(&lab, &[(lab.master(1), 1)]);
}

/// Without an agent a connect to a host that is gone ends all the same, and an established connection stays.
pub fn bounded(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, mut agent)) = setup.running(1) else { return };
    let held = lab.node().spawn_client(&["hold", "--to", VIP]).unwrap();
    opened(&held);
    agent.kill().unwrap();
    lab.master(0).cut().unwrap();
    let report = lab.node().client(&["syn", "--to", VIP, "--connect-timeout", "30s"]).unwrap();
    figure(&format!("a connect to a host that is gone, without an agent: {report}"));
    assert_eq!(report["result"], "ETIMEDOUT", "{report}");
    let millis = report["ms"].as_u64().unwrap();
    assert!((4_000..8_000).contains(&millis), "{report}");
    assert!(!held.stdout().contains("ended"), "{}", held.stdout());
}
