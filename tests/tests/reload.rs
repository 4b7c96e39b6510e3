//! The config file changes while the agent runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::agent::{await_backend, running, status};
use common::load::requests;
use common::quiet::beside_others;
use common::{SOON, lab};
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn a_bad_config_file_leaves_the_old_one_in_force_and_status_says_why() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let agent = running(&lab);
    let socket = lab.admin_socket();
    let ask = |format: &str| {
        let words = ["--admin-socket", socket.to_str().unwrap(), "status", "-o", format];
        lab.lbctl(&words).unwrap().success().unwrap()
    };
    let config_error = || -> Value {
        let status: Value = serde_json::from_str(&ask("json")).unwrap();
        status["agent"]["configError"].clone()
    };
    assert_eq!(config_error(), Value::Null);
    let good = fs::read_to_string(lab.config_file()).unwrap();
    for (what, bad) in [
        ("an unknown field", good.replace("hostname:", "hostnam:")),
        ("no YAML", "services: [".to_owned()),
        ("nothing", String::new()),
    ] {
        fs::write(lab.config_file(), bad).unwrap();
        let error = eventually(SOON, "status shows the error", || {
            let error = config_error();
            error.as_str().map(str::to_owned).ok_or_else(|| error.to_string())
        })
        .unwrap();
        assert!(error.contains("config.yaml"), "{what}: {error}");
        let screen = ask("table");
        assert!(screen.contains("config.yaml"), "{what}: {screen}");
        assert_eq!(requests(lab.node(), VIP, "v4", 20).ok(), 20, "{what}: the old one is in force");
        let log = agent.log();
        assert!(log.contains("config.yaml"), "{what}: {log}");

        fs::write(lab.config_file(), &good).unwrap();
        eventually(SOON, "the error goes", || {
            let error = config_error();
            if error.is_null() { Ok(()) } else { Err(error.to_string()) }
        })
        .unwrap();
    }
}

#[test]
fn a_mistake_in_the_config_file_does_not_hide_the_agent_from_its_commands() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let agent = running(&lab);
    let good = fs::read_to_string(lab.config_file()).unwrap();
    fs::write(lab.config_file(), good.replace("hostname:", "hostnam:")).unwrap();
    // The admin socket is named in the same file, and rightly so.
    let shown = status(&lab);
    assert_eq!(shown["agent"]["pid"], agent.pid(), "{shown}");
    assert_eq!(common::agent::listed(&lab).len(), 2);
}

#[test]
fn an_unknown_field_is_told_with_line_column_and_path() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let good = fs::read_to_string(lab.agent_config(|_| ()).unwrap()).unwrap();
    fs::write(lab.config_file(), good.replace("hostname:", "hostnam:")).unwrap();
    let line = 1 + good.lines().position(|line| line.contains("hostname:")).unwrap();
    let place = format!("config.yaml:{line}:");
    for words in [&["check"][..], &["run"], &["run", "--once"]] {
        let failed = lab.lbctl(words).unwrap();
        assert_eq!(failed.code(), 2, "{words:?}: {}", failed.stderr);
        let said = format!("{}{}", failed.stdout, failed.stderr);
        assert!(said.contains(&place) && said.contains("services[0].hostnam"), "{words:?}: {said}");
    }
}

#[test]
fn a_change_of_the_file_is_taken_up_whether_written_or_renamed() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let agent = running(&lab);
    let m1 = lab.master(0).address();
    let weight =
        |weight: u64| serde_yaml::to_value(serde_json::json!({"address": m1, "weight": weight})).unwrap();
    lab.agent_config(|yaml| yaml["services"][0]["backends"][0] = weight(7)).unwrap();
    await_backend(&agent, m1, "the renamed file is read", SOON, |backend| backend["weight"] == 7);
    let text = fs::read_to_string(lab.config_file()).unwrap();
    fs::write(lab.config_file(), text.replace("weight: 7", "weight: 9")).unwrap();
    await_backend(&agent, m1, "the rewritten file is read", SOON, |backend| backend["weight"] == 9);
}

#[test]
fn sighup_reads_the_file_again() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    // A file that changes without an event in its own directory, as when a mounted ConfigMap is replaced.
    let good = fs::read_to_string(lab.agent_config(|_| ()).unwrap()).unwrap();
    let m1 = lab.master(0).address();
    let changed = good.replace(&format!("- {m1}"), &format!("- {{address: \"{m1}\", weight: 4}}"));
    assert_ne!(changed, good);
    for (version, text) in [("one", &good), ("two", &changed)] {
        fs::create_dir(lab.dir().join(version)).unwrap();
        fs::write(lab.dir().join(version).join("config.yaml"), text).unwrap();
    }
    let (live, next) = (lab.dir().join("live"), lab.dir().join("next"));
    symlink("one", &live).unwrap();
    fs::remove_file(lab.config_file()).unwrap();
    symlink("live/config.yaml", lab.config_file()).unwrap();
    let agent = running(&lab);
    symlink("two", &next).unwrap();
    fs::rename(&next, &live).unwrap();
    agent.signal(Signal::HUP).unwrap();
    await_backend(&agent, m1, "the new config is in force", SOON, |backend| backend["weight"] == 4);
    assert_eq!(requests(lab.node(), VIP, "v4", 20).ok(), 20);
}
