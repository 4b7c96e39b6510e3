//! Masters that die, fall silent or come back: how soon connections leave them, and how soon they return.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::agent::{
    alert, all_up, await_backend, await_health, await_serving, fast, fast_fall, fast_rise, listed,
    of_address, running,
};
use common::load::{Bounds, Load, assert_left, figure, ms, requests, syn, unix_ms};
use common::quiet::{alone, beside_others};
use common::{SOON, lab};
use lb_tests::lab::{Agent, Launch, Master, VIP};
use lb_tests::pki::Signer;
use lb_tests::standin::Misbehaviour;
use lb_tests::{Lab, wait::eventually};
use serde_json::{Value, json};

/// From a SIGKILL on, by the issue.
const CRASH_BOUND: Duration = Duration::from_millis(100);
/// So many held connections, so that chance leaves one of three masters without any once in 16,000 runs.
const HELD: u32 = 24;

/// Waits until a master is dead and the kernel sends nothing there.
fn await_left(agent: &Agent, master: &Master, deadline: Duration) {
    await_backend(agent, master.address(), "dead and left", deadline, |backend| {
        backend["health"] == "dead" && backend["serving"] == false
    });
}

#[test]
fn a_killed_master_has_no_connection_100_ms_later_and_gets_no_new_one() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    for (master, family) in lab.masters().iter().zip(["v4", "mapped"]) {
        let held = Load::start(&lab, family, 0, HELD);
        let load = Load::start(&lab, family, 8, 0);
        load.more(200);
        let killed = unix_ms();
        master.kill().unwrap();
        await_left(&agent, master, Duration::from_secs(1));
        let verdict = unix_ms() - killed;
        let seen = of_address(&listed(&lab), master.address()).unwrap();
        assert_eq!((&seen["health"], &seen["serving"]), (&json!("dead"), &json!(false)), "{seen}");
        assert!(seen["reason"].as_str().unwrap().contains("connection refused"), "{seen}");
        load.more(500);
        let (load, held) = (load.stop(), held.stop());
        assert_left(master, &format!("SIGKILL, {family}"), killed, Bounds::one(CRASH_BOUND), &load, &held);

        let started = unix_ms();
        master.start().unwrap();
        await_health(&agent, master.address(), "up", SOON);
        figure(&format!(
            "{family}: dead after {verdict} ms, up again {} ms after its start",
            unix_ms() - started
        ));
        all_up(&lab, &agent);
    }
}

/// What is said of a silent master: the first until a probe has failed after its death.
const SILENT: [&str; 2] = ["host is silent", "timed out"];

/// A silent master: `fault` makes it so, `mend` ends it.
fn silence(
    lab: &Lab,
    agent: &Agent,
    what: &str,
    bounds: (Bounds, Duration),
    fault: fn(&Master) -> anyhow::Result<()>,
    mend: fn(&Master) -> anyhow::Result<()>,
) {
    let (fall, rise) = bounds;
    let master = lab.master(0);
    let families = ["v4", "mapped"];
    let held = families.map(|family| Load::start(lab, family, 0, HELD));
    // Deadlines of the clients' own that tell a silent master from a slow one, well below the bound.
    let deadlines = ["--connect-timeout", "400ms", "--timeout", "700ms"];
    let loads = families.map(|family| Load::with(lab, family, 2, 0, &deadlines));
    loads.iter().for_each(|load| load.more(100));
    let moment = unix_ms();
    fault(master).unwrap();
    await_left(agent, master, fall.ended + SOON);
    let verdict = unix_ms() - moment;
    loads.iter().for_each(|load| load.more(200));
    for ((load, held), family) in loads.into_iter().zip(held).zip(families) {
        assert_left(master, &format!("{what}, {family}"), moment, fall, &load.stop(), &held.stop());
    }
    let seen = of_address(&listed(lab), master.address()).unwrap();
    assert_eq!((&seen["health"], &seen["serving"]), (&json!("dead"), &json!(false)), "{seen}");
    assert!(SILENT.iter().any(|why| seen["reason"].as_str().unwrap().contains(why)), "{seen}");

    let mended = unix_ms();
    mend(master).unwrap();
    await_health(agent, master.address(), "up", SOON);
    let back = unix_ms() - mended;
    figure(&format!(
        "{what}: dead after {verdict} ms ({}), up again {back} ms after its end",
        seen["reason"]
    ));
    assert!(verdict <= ms(fall.ended), "{what}: dead only after {verdict} ms");
    assert!(back <= ms(rise), "{what}: up again only after {back} ms, bound {} ms", ms(rise));
    let report = requests(lab.node(), VIP, "v4", 60);
    assert!(report.failed() == 0 && report.served(master.name()) > 0, "it serves again: {report:?}");
}

#[test]
fn a_master_whose_link_is_cut_is_left_within_fall_times_interval_plus_timeout() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(alert).unwrap();
    let agent = running(&lab);
    let bounds = (Bounds::one(fast_fall()), fast_rise());
    silence(&lab, &agent, "cut link", bounds, Master::cut, Master::mend);
}

#[test]
fn a_stopped_master_is_left_within_fall_times_interval_plus_timeout() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(alert).unwrap();
    let agent = running(&lab);
    let bounds = (Bounds::one(fast_fall()), fast_rise());
    silence(&lab, &agent, "SIGSTOP", bounds, Master::stop, Master::cont);
}

/// With the defaults: `rise` and an `interval` more.
const DEFAULT_RISE: Duration = Duration::from_secs(2 * 2 + 1);
/// A heartbeat, its patience, and as much again for a slow machine.
const DEFAULT_STEERED: Duration = Duration::from_millis(1500);

#[test]
fn with_default_timings_a_host_that_is_gone_is_left_at_once_and_dead_within_three_seconds() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let bounds = Bounds { steered: DEFAULT_STEERED, ended: Duration::from_secs(3) };
    silence(&lab, &agent, "cut link, defaults", (bounds, DEFAULT_RISE), Master::cut, Master::mend);
}

#[test]
fn with_default_timings_a_master_that_hangs_is_left_at_once_and_dead_a_second_after_dead_after() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let bounds = Bounds { steered: DEFAULT_STEERED, ended: Duration::from_secs(4 + 1) };
    silence(&lab, &agent, "SIGSTOP, defaults", (bounds, DEFAULT_RISE), Master::stop, Master::cont);
}

#[test]
fn a_master_that_pauses_for_two_seconds_is_left_for_that_time_and_keeps_its_connections() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let master = lab.master(0);
    let held = Load::start(&lab, "v4", 0, HELD);
    let paused = unix_ms();
    master.stop().unwrap();
    await_serving(&agent, &[lab.master(1), lab.master(2)], Duration::from_secs(2));
    let suspect = unix_ms() - paused;
    held.run_on(Duration::from_millis(u64::try_from(2000 - suspect).unwrap_or(0)));
    master.cont().unwrap();
    await_serving(&agent, &[master, lab.master(1), lab.master(2)], SOON);
    figure(&format!("suspect {suspect} ms after the pause began, up again after {} ms", unix_ms() - paused));
    let held = held.stop();
    assert_eq!(held.broken(), 0, "{held:?}");
}

#[test]
fn clients_that_still_wait_for_the_handshake_with_a_silent_master_are_freed() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(|yaml| {
        alert(yaml);
        yaml["services"][0]["policy"] = "round-robin".into();
        // Else they would be on another master by then.
        yaml["rescue"] = "off".into();
    })
    .unwrap();
    let agent = running(&lab);
    let master = lab.master(0);
    master.cut().unwrap();
    let patient = ["--to", VIP, "--connect-timeout", "30s"];
    // Every third connect goes to the silent master.
    let clients: Vec<_> = ["v4", "mapped"]
        .iter()
        .flat_map(|family| [family; 3])
        .map(|family| {
            lab.node().spawn_client(&[&["syn", "--family", family][..], &patient].concat()).unwrap()
        })
        .collect();
    let reports: Vec<Value> = clients.into_iter().map(|client| client.wait(SOON).unwrap()).collect();
    let hung: Vec<&Value> = reports.iter().filter(|report| report["result"] != "connected").collect();
    let freed = hung.iter().filter_map(|report| report["ms"].as_i64()).max();
    figure(&format!("{} of 6 connects hung, all were freed after {freed:?} ms", hung.len()));
    assert!(!hung.is_empty(), "no connect went to the silent master: {reports:?}");
    assert!(hung.iter().all(|report| report["result"] == "ECONNABORTED"), "{reports:?}");
    assert!(freed <= Some(ms(fast_fall())), "freed only after {freed:?} ms: {reports:?}");
    await_health(&agent, master.address(), "dead", SOON);
}

#[test]
fn with_one_master_up_out_of_three_everything_goes_to_that_one() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    lab.master(1).start().unwrap();
    let agent = lab.start_agent().unwrap();
    await_health(&agent, lab.master(1).address(), "up", SOON);
    await_serving(&agent, &[lab.master(1)], SOON);
    let report = requests(lab.node(), VIP, "v4", 200);
    assert_eq!((report.ok(), report.served("m2")), (200, 200), "{report:?}");

    lab.master(0).start().unwrap();
    await_health(&agent, lab.master(0).address(), "up", SOON);
    await_serving(&agent, &[lab.master(0), lab.master(1)], SOON);
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.served("m3")), (100, 0), "{report:?}");
    assert!(report.served("m1") > 20, "{report:?}");
}

#[test]
fn with_all_masters_down_connects_are_refused_at_once_until_one_is_back() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let agent = running(&lab);
    lab.masters().iter().for_each(|master| master.kill().unwrap());
    let refused = |(result, took): (String, u64)| {
        if result == "EHOSTUNREACH" && took <= 20 { Ok(()) } else { Err(format!("{result} after {took} ms")) }
    };
    eventually(Duration::from_millis(200), "connects are refused at once", || refused(syn(lab.node(), VIP)))
        .unwrap();
    await_serving(&agent, &[], SOON);
    for family in ["v4", "mapped", "v4", "mapped"] {
        let client = ["syn", "--to", VIP, "--family", family];
        let report = lab.node().client(&client).unwrap();
        figure(&format!("all down, {family}: {report}"));
        let result = report["result"].as_str().unwrap().to_owned();
        refused((result, report["ms"].as_u64().unwrap())).unwrap();
    }
    let started = unix_ms();
    lab.master(2).start().unwrap();
    eventually(SOON, "a connect succeeds", || {
        let (result, _) = syn(lab.node(), VIP);
        if result == "connected" { Ok(()) } else { Err(result) }
    })
    .unwrap();
    let back = unix_ms() - started;
    figure(&format!("served again {back} ms after the start of a master"));
    assert!(back <= ms(fast_rise()) + 200, "served again only after {back} ms");
}

#[test]
fn a_master_that_is_not_ready_keeps_its_connections_and_gets_no_new_one() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    lab.agent_config(fast).unwrap();
    let agent = running(&lab);
    let master = lab.master(0);
    let held = Load::start(&lab, "v4", 0, HELD);
    let began = unix_ms();
    master.control("/readyz/503").unwrap();
    let seen = await_health(&agent, master.address(), "notReady", SOON);
    figure(&format!("not ready after {} ms: {}", unix_ms() - began, seen["reason"]));
    assert!(seen["reason"].as_str().unwrap().contains("503"), "{seen}");
    await_serving(&agent, &[lab.master(1), lab.master(2)], SOON);
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.served("m1")), (100, 0), "{report:?}");
    master.control("/readyz/200").unwrap();
    await_health(&agent, master.address(), "up", SOON);
    let report = requests(lab.node(), VIP, "v4", 60);
    assert!(report.failed() == 0 && report.served("m1") > 0, "{report:?}");
    let held = held.stop();
    assert_eq!(held.broken(), 0, "{held:?}");
}

#[test]
fn each_kind_of_broken_master_has_the_health_and_the_reason_it_deserves() {
    let _turn = beside_others();
    let builder = Lab::builder().masters(8).not_started();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let broken = |misbehaviour| Launch { misbehaviour, ..Launch::default() };
    let cases = [
        (broken(Misbehaviour::AcceptClose), "dead", &["closed", "reset"][..]),
        (broken(Misbehaviour::Garbage), "dead", &["tls"]),
        (Launch { signer: Signer::Other, ..Launch::default() }, "dead", &["certificate: unknown issuer"]),
        (broken(Misbehaviour::Error500), "notReady", &["500"]),
        (broken(Misbehaviour::Redirect), "notReady", &["302"]),
        (broken(Misbehaviour::Unauthorized), "up", &[]),
        (broken(Misbehaviour::EndlessBody), "up", &[]),
        (broken(Misbehaviour::Goaway), "up", &[]),
    ];
    for (master, (launch, ..)) in lab.masters().iter().zip(&cases) {
        master.start_as(*launch).unwrap();
    }
    let agent = lab.start_agent().unwrap();
    for (master, (launch, health, reasons)) in lab.masters().iter().zip(&cases) {
        let seen = await_health(&agent, master.address(), health, SOON);
        let reason = seen["reason"].as_str().unwrap_or_default();
        figure(&format!("{:?}, {:?}: {health}, {reason:?}", launch.misbehaviour, launch.signer));
        assert!(reasons.is_empty() || reasons.iter().any(|part| reason.contains(part)), "{launch:?}: {seen}");
    }
    await_serving(&agent, &[lab.master(5), lab.master(6), lab.master(7)], SOON);
}
