//! The table of connections, shown and full.

use lb_tests::lab::{Agent, Launch, Node, VIP};
use lb_tests::process::Proc;
use lb_tests::wait::eventually;
use lb_tests::{Lab, binaries};
use rustix::process::Signal;
use serde_json::Value;

use super::setup::{builder, clients, running, started};
use crate::common::SOON;
use crate::common::agent::unhurried;
use crate::common::load::{Load, figure};
use crate::common::quiet::alone;

/// The least that can be configured.
const LEAST: u32 = 1024;
/// Half of what is held.
const MANY: u32 = 750;

/// What `lbctl connections -o json` gives.
pub fn view(lab: &Lab) -> Value {
    let text = lab.lbctl(&["connections", "-o", "json"]).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// How many packets were dropped for this reason.
pub fn dropped(view: &Value, reason: &str) -> u64 {
    view["dropped"][reason].as_u64().unwrap_or_else(|| unreachable!("no drops for {reason} in {view}"))
}

/// Connections in the table.
pub fn connections(view: &Value) -> &Vec<Value> {
    view["connections"].as_array().unwrap_or_else(|| unreachable!("no connections in {view}"))
}

#[test]
fn connections_are_shown_with_their_backends_and_go_when_they_end() {
    let _turn = alone();
    let Some((lab, _agent)) = running(2, |_| ()) else { return };
    let held = clients(&lab).map(|(_, client)| Load::on(&lab, client, "v4", 0, 4));
    let shown = view(&lab);
    for (who, client) in clients(&lab) {
        let own = format!("{}:", client.host().v4());
        for master in lab.masters() {
            let backend = master.address().to_string();
            let is_it =
                |one: &&Value| one["client"].as_str().unwrap().starts_with(&own) && one["backend"] == backend;
            let count = connections(&shown).iter().filter(is_it).count();
            assert_eq!(count, 2, "{who} to {backend}: {shown}");
        }
    }
    for held in held {
        assert_untouched_watches(held);
    }
    eventually(SOON, "no connection is open", || {
        let shown = view(&lab);
        let open: Vec<_> = connections(&shown).iter().filter(|one| one["state"] == "open").collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .unwrap();
}

/// Ends a load without requests of which no watch may have ended.
fn assert_untouched_watches(held: Load) {
    let report = held.stop();
    assert_eq!(report.broken(), 0, "{report:?}");
}

/// Connections that are held without TLS, which would take most of the time.
fn hold(client: &Node, count: u32) -> Proc {
    let count = count.to_string();
    let words = [
        "load",
        "--to",
        VIP,
        "--clients",
        "0",
        "--held",
        &count,
        "--duration",
        "5m",
        "--connect-timeout",
        "5s",
    ];
    client.spawn(&binaries::client().unwrap(), &words).unwrap()
}

/// Ends it; how many of its connections ended before.
fn broken(mut held: Proc) -> u64 {
    held.signal(Signal::TERM).unwrap();
    let stdout = held.wait_deadline(SOON).unwrap().success().unwrap();
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    report["held"]["broken"].as_u64().unwrap()
}

/// Two masters without TLS, and an agent with the smallest table.
fn small() -> Option<(Lab, Agent)> {
    let lab = builder().masters(2).not_started().build_or_skip().unwrap()?;
    let plain = Launch { plain: true, ..Launch::default() };
    lab.masters().iter().for_each(|master| master.start_as(plain).unwrap());
    lab.agent_config(|config| {
        unhurried(config);
        config["scope"] = "node".into();
        config["packet"]["connections"] = LEAST.into();
        config["services"][0]["health"]["type"] = "http".into();
        config["services"][0]["health"].as_mapping_mut().unwrap().remove("ca");
    })
    .unwrap();
    let agent = started(&lab);
    Some((lab, agent))
}

#[test]
fn a_full_table_forgets_old_connections_and_takes_new_ones() {
    let _turn = alone();
    let Some((lab, mut agent)) = small() else { return };
    // More than the table takes, of two processes because of what one may have open.
    let held = [hold(lab.vm(), MANY), hold(lab.vm(), MANY)];
    eventually(SOON, "every connection is begun", || {
        let shown = view(&lab);
        let begun = shown["counted"]["begun"].as_u64().unwrap();
        if begun >= u64::from(2 * MANY) { Ok(()) } else { Err(format!("{begun}; {}", held[0].stderr())) }
    })
    .unwrap();
    for _ in 0..20 {
        let report =
            lab.vm().run(&["curl", "-sS", "--max-time", "5", &format!("http://{VIP}/whoami")]).unwrap();
        assert_eq!(report.code(), 0, "new connections are taken: {}", report.stderr);
    }
    let shown = view(&lab);
    let room = shown["capacity"]["open"].as_u64().unwrap() + shown["capacity"]["opening"].as_u64().unwrap();
    assert_eq!(shown["capacity"]["open"], LEAST, "{}", brief(&shown));
    assert!(shown["total"].as_u64().unwrap() <= room, "{}", brief(&shown));
    // What is not in the table ends as soon as its master says something, and does not hang.
    eventually(SOON, "what was forgotten is told", || {
        let shown = view(&lab);
        if dropped(&shown, "displaced") + dropped(&shown, "unknown") > 0 {
            Ok(())
        } else {
            Err(brief(&shown).to_string())
        }
    })
    .unwrap();
    let ended: u64 = held.into_iter().map(broken).sum();
    figure(&format!(
        "of {} held connections {ended} were forgotten in a table of {LEAST}; {}",
        2 * MANY,
        brief(&view(&lab))
    ));
    assert!(ended >= u64::from(2 * MANY - LEAST), "{ended} ended");
    agent.signal(Signal::TERM).unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), 0);
    let _agent = started(&lab);
    let report = lab.vm().run(&["curl", "-sS", "--max-time", "5", &format!("http://{VIP}/whoami")]).unwrap();
    assert_eq!(report.code(), 0, "{}", report.stderr);
}

/// All but the list.
pub fn brief(view: &Value) -> Value {
    let mut brief = view.clone();
    if let Some(fields) = brief.as_object_mut() {
        fields.remove("connections");
    }
    brief
}
