//! The table of connections, shown and full.

use lb_tests::Lab;
use lb_tests::lab::VIP;
use lb_tests::slowness::thinned;
use lb_tests::wait::eventually;
use serde_json::Value;

use super::setup::{clients, running};
use crate::common::SOON;
use crate::common::load::{Load, assert_untouched, figure, requests};
use crate::common::quiet::alone;

/// The least that can be configured.
const LEAST: u32 = 1024;

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

#[test]
fn a_full_table_forgets_old_connections_and_takes_new_ones() {
    let _turn = alone();
    let Some((lab, mut agent)) = running(2, |config| config["packet"]["connections"] = LEAST.into()) else {
        return;
    };
    // More than the table takes, of two processes because of what one may have open.
    let many = thinned(750).max(LEAST / 2 + 100);
    let first = Load::on(&lab, lab.vm(), "v4", 0, many);
    let second = Load::on(&lab, lab.vm(), "v4", 0, many);
    let report = requests(lab.vm(), VIP, "v4", 20);
    assert_eq!((report.ok(), report.failed()), (20, 0), "new connections are taken: {report:?}");
    let shown = view(&lab);
    assert!(connections(&shown).len() <= LEAST as usize, "{} in the table", connections(&shown).len());
    // What is not in the table ends as soon as its master says something, and does not hang.
    eventually(SOON, "forgotten connections are reset", || {
        let shown = view(&lab);
        if dropped(&shown, "unknown") > 0 { Ok(()) } else { Err(shown["dropped"].to_string()) }
    })
    .unwrap();
    let (first, second) = (first.stop(), second.stop());
    let broken = first.broken() + second.broken();
    figure(&format!("of {} held connections {broken} were forgotten in a table of {LEAST}", 2 * many));
    assert!(broken >= u64::from(2 * many - LEAST), "{broken} ended");
    agent.signal(rustix::process::Signal::TERM).unwrap();
    assert_eq!(agent.wait(SOON).unwrap().code(), 0);
    let _agent = super::setup::started(&lab);
    assert_untouched(&requests(lab.vm(), VIP, "v4", 20));
}
