//! What happens to the agent happens to nobody else.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::agent::{await_backend, await_health, fast, running};
use common::load::{Load, Report, assert_untouched, figure, requests};
use common::quiet::{alone, beside_others};
use common::{SOON, lab};
use lb_tests::Lab;
use lb_tests::lab::VIP;
use rustix::process::Signal;
use serde_json::json;

/// By the issue.
const CLIENTS: u32 = 16;
const HELD: u32 = 12;
/// Far longer than an agent needs to end on SIGTERM.
const END: Duration = Duration::from_secs(5);

fn report(what: &str, load: Report) {
    let longest = &load.raw["longestWithoutSuccessMs"];
    figure(&format!(
        "{what}: {CLIENTS} clients, {} requests, {} failed, {HELD} held connections, {} broken, \
         slowest connect {} ms, longest time without a success {longest} ms",
        load.ok() + load.failed(),
        load.failed(),
        load.broken(),
        load.raw["slowestConnectMs"],
    ));
    assert_untouched(&load);
}

#[test]
fn nobody_notices_that_the_agent_was_killed_and_stayed_away_for_five_seconds() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let mut agent = running(&lab);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(200);
    agent.kill().unwrap();
    load.run_on(Duration::from_secs(5));
    let agent = running(&lab);
    load.run_on(Duration::from_secs(1));
    report("SIGKILL, 5 s without, new start", load.stop());
    drop(agent);
}

#[test]
fn nobody_notices_twenty_restarts_in_a_row() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let mut agent = running(&lab);
    let load = Load::start(&lab, "mapped", CLIENTS, HELD);
    load.more(200);
    let began = Instant::now();
    for round in 0..20 {
        if round % 2 == 0 {
            agent.kill().unwrap();
        } else {
            let ended = agent.terminate(END).unwrap();
            assert_eq!(ended.code(), 0, "round {round}: {}", ended.stderr);
        }
        agent = lab.start_agent().unwrap();
    }
    let took = began.elapsed();
    load.more(200);
    report(&format!("20 restarts in {took:.1?}"), load.stop());
}

#[test]
fn nobody_notices_a_change_of_the_config_file_and_it_takes_effect() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|index| lab.master(index).address());
    let backends = |list: serde_json::Value| {
        lab.agent_config(|yaml| yaml["services"][0]["backends"] = serde_yaml::to_value(list).unwrap())
            .unwrap();
    };
    backends(json!([m1, m2]));
    let agent = lab.start_agent().unwrap();
    for address in [m1, m2] {
        await_health(&agent, address, "up", SOON);
    }
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    load.more(200);

    backends(json!([m1, {"address": m2, "weight": 5}]));
    await_backend(&agent, m2, "the weight changes", SOON, |backend| backend["weight"] == 5);
    load.more(200);
    backends(json!([m1, {"address": m2, "weight": 5}, m3]));
    await_backend(&agent, m3, "the new backend serves", SOON, |backend| backend["serving"] == true);
    load.more(200);
    let load = load.stop();
    assert!(load.served("m3") > 0, "{load:?}");
    report("change of a weight, then one backend more", load);

    let report = requests(lab.node(), VIP, "v4", 700);
    figure(&format!("weights 1:5:1, 700 requests: {}", report.raw["served"]));
    // Five standard deviations of 700 draws are 60.
    assert!((440..=560).contains(&report.served("m2")), "{report:?}");
}

#[test]
fn a_backend_taken_from_the_config_gets_no_new_connection_and_keeps_its_old_ones() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    let load = Load::start(&lab, "v4", 2, HELD);
    load.more(50);
    lab.agent_config(|yaml| {
        yaml["services"][0]["backends"].as_sequence_mut().unwrap().remove(0);
    })
    .unwrap();
    lb_tests::wait::eventually(SOON, "the backend is gone", || {
        let backends = common::agent::backends(&agent)?;
        if backends.len() == 2 { Ok(()) } else { Err(format!("{backends:?}")) }
    })
    .unwrap();
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.served("m1")), (100, 0), "{report:?}");
    assert_untouched(&load.stop());
}

#[test]
fn a_second_agent_is_refused_and_told_the_pid_of_the_first() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let agent = running(&lab);
    let second = lab.spawn_agent(&[]).unwrap().wait(SOON).unwrap();
    assert_eq!(second.code(), 1, "{}", second.stderr);
    assert!(second.stderr.contains(&agent.pid().to_string()), "pid {}: {}", agent.pid(), second.stderr);
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10, "the first one is undisturbed");
    assert_eq!(agent.request("GET", "/healthz", "").unwrap().status, 200);
}

#[test]
fn sigterm_at_any_moment_of_a_start_ends_the_agent_and_leaves_things_sound() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    lab.agent_config(fast).unwrap();
    interrupt_starts(&lab, "on a node without kernel state");
    let agent = running(&lab);
    drop(agent);
    let load = Load::start(&lab, "v4", 4, HELD);
    interrupt_starts(&lab, "over a running kernel state");
    let _agent = running(&lab);
    load.more(50);
    assert_untouched(&load.stop());
}

/// Sends SIGTERM after delays that cover the whole start, which takes some 100 ms.
fn interrupt_starts(lab: &Lab, what: &str) {
    for delay in [0, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200] {
        let mut agent = lab.spawn_agent(&[]).unwrap();
        // The moment itself is what is tested.
        std::thread::sleep(Duration::from_millis(delay));
        agent.signal(Signal::TERM).unwrap();
        let ended = agent.wait(END).unwrap();
        let killed_before_it_listened =
            std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(15);
        assert!(
            ended.code() == 0 || killed_before_it_listened,
            "{what}, SIGTERM after {delay} ms: {}, {}",
            ended.status,
            ended.stderr
        );
    }
}
