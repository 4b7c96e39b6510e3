//! Who gets the connections to the virtual address.

use lb_tests::Lab;
use lb_tests::lab::{Agent, ClientRun, Master, VIP};
use lb_tests::slowness::factor;
use lb_tests::wait::eventually;
use serde_json::json;

use super::kernel::expect_kernel;
use super::setup::{Setup, service, yaml};
use crate::common::agent::{all_up, await_health, backends, fast, of_address, running};
use crate::common::load::{Report, figure, requests};
use crate::common::quiet::beside_others;
use crate::common::{SOON, opened};

/// Fewer where each takes long; the bars widen with it.
fn draws() -> u32 {
    if factor() > 1.0 { 120 } else { 600 }
}

/// Asserts that the share of `master` is `percent`, give or take five standard deviations of so many draws.
fn assert_share(report: &Report, master: &str, percent: f64) {
    let (whole, expected) = (report.ok() as f64, percent / 100.0);
    let share = report.served(master) as f64 / whole;
    let deviation = (expected * (1.0 - expected) / whole).sqrt();
    figure(&format!("{master}: {:.1} % of {whole}, {percent:.1} % expected", 100.0 * share));
    assert!((share - expected).abs() <= 5.0 * deviation, "{master}: {report:?}");
}

/// Asks, and asserts that nothing failed and that clients see the virtual address.
fn ask(lab: &Lab, count: u32) -> Report {
    let report = requests(lab.node(), VIP, "v4", count);
    assert_eq!((report.ok(), report.failed()), (u64::from(count), 0), "{report:?}");
    assert_eq!(report.raw["peers"], json!({VIP: count}), "{report:?}");
    report
}

/// By chance: each of three masters gets about a third, and the kernel counts what they served.
pub fn random(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.builder().build_or_skip().unwrap() else { return };
    lab.agent_config(fast).unwrap();
    let agent = running(&lab);
    let [m1, m2, m3] = [0, 1, 2].map(|index| lab.master(index));
    expect_kernel(&lab, &[(m1, 1), (m2, 1), (m3, 1)]);
    let report = ask(&lab, draws());
    for master in [m1, m2, m3] {
        assert_share(&report, master.name(), 100.0 / 3.0);
        eventually(SOON, &format!("the kernel counts what {} served", master.name()), || {
            let counted = backends(&agent)?;
            let total = of_address(&counted, master.address()).unwrap()["connections"]["total"].clone();
            let served = report.served(master.name());
            if total == served { Ok(()) } else { Err(format!("{total} of {served}")) }
        })
        .unwrap();
    }
}

/// A master of weight 3 gets three quarters beside one of weight 1.
pub fn weights(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    let [light, heavy] = [0, 1].map(|index| lab.master(index));
    lab.agent_config(|config| {
        fast(config);
        let heavy = json!({"address": heavy.address(), "weight": 3});
        service(config)["backends"] = yaml(json!([light.address(), heavy]));
    })
    .unwrap();
    let _agent = running(&lab);
    expect_kernel(&lab, &[(light, 1), (heavy, 3)]);
    assert_share(&ask(&lab, draws()), heavy.name(), 75.0);
}

/// To the one with the fewest connections: they are even, and a master that has fewer gets the next ones.
pub fn least_conn(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    lab.agent_config(|config| {
        fast(config);
        service(config)["policy"] = "least-conn".into();
    })
    .unwrap();
    let agent = running(&lab);
    let (m1, m2) = (lab.master(0), lab.master(1));
    expect_kernel(&lab, &[(m1, 1), (m2, 1)]);
    let hold = |count| (0..count).map(|_| holding(&lab)).collect::<Vec<_>>();
    let _even = hold(6);
    await_connections(&agent, [m1, m2], [3, 3]);
    operate(&lab, "drain", m1);
    let _only = hold(4);
    await_connections(&agent, [m1, m2], [3, 7]);
    operate(&lab, "enable", m1);
    let _catching_up = hold(4);
    await_connections(&agent, [m1, m2], [7, 7]);
}

/// One more connection, held.
fn holding(lab: &Lab) -> ClientRun {
    let client = lab.node().spawn_client(&["hold", "--to", VIP]).unwrap();
    opened(&client);
    client
}

fn operate(lab: &Lab, verb: &str, master: &Master) {
    lab.lbctl(&["backends", verb, &master.address().to_string()]).unwrap().success().unwrap();
}

fn await_connections(agent: &Agent, masters: [&Master; 2], wanted: [u64; 2]) {
    eventually(SOON, &format!("{wanted:?} connections"), || {
        let counted = backends(agent)?;
        let active = |master: &Master| {
            let backend = of_address(&counted, master.address()).unwrap();
            backend["connections"]["active"].as_u64().unwrap()
        };
        let active = masters.map(active);
        if active == wanted { Ok(()) } else { Err(format!("{active:?}")) }
    })
    .unwrap();
}

/// In turn: each of three masters gets every third connection.
pub fn round_robin(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(3) else { return };
    let masters = [0, 1, 2].map(|index| (lab.master(index), 1));
    expect_kernel(&lab, &masters);
    let report = ask(&lab, 30);
    assert_eq!(report.raw["served"], json!({"m1": 10, "m2": 10, "m3": 10}), "{report:?}");
}

/// A node has one home: every connection goes there while it serves, to one other master while it does not, and home
/// again when it is back.
pub fn sticky(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(3) else { return };
    lab.agent_config(|config| {
        fast(config);
        service(config)["policy"] = "sticky".into();
    })
    .unwrap();
    let agent = running(&lab);
    all_up(&lab, &agent);
    let home = only_one(&lab);
    home.kill().unwrap();
    await_health(&agent, home.address(), "dead", SOON);
    let other = only_one(&lab);
    assert_ne!(other.name(), home.name());
    home.start().unwrap();
    all_up(&lab, &agent);
    eventually(SOON, "new connections go home", || {
        let now = only_one(&lab);
        if now.name() == home.name() { Ok(()) } else { Err(format!("they go to {}", now.name())) }
    })
    .unwrap();
}

/// The only master that serves this node.
fn only_one(lab: &Lab) -> &Master {
    let report = ask(lab, 20);
    let mut serving = lab.masters().iter().filter(|master| report.served(master.name()) > 0);
    match (serving.next(), serving.next()) {
        (Some(master), None) => master,
        _ => unreachable!("not one master serves: {report:?}"),
    }
}
