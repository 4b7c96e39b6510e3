//! Both kinds of eBPF at once: processes of the node by the cgroup's hooks, the rest by packets.

use std::time::Duration;

use lb_tests::lab::{Agent, Dataplane, VIP};
use lb_tests::wait::eventually;
use serde_json::{Value, json};

use super::setup::{builder, clients, in_turn, started};
use super::table::{connections, view};
use crate::common::agent::{await_health, backends};
use crate::common::load::{Load, requests, unix_ms};
use crate::common::quiet::alone;
use crate::common::{SOON, load::ms};

const HELD: u32 = 4;
/// From a cut to the end of the last connection, with quick verdicts.
const ENDED: Duration = Duration::from_secs(5);

/// Connections that the agent counts, to all backends together.
fn active(agent: &Agent) -> Result<u64, String> {
    Ok(backends(agent)?.iter().filter_map(|backend| backend["connections"]["active"].as_u64()).sum())
}

#[test]
fn every_client_is_served_once_and_one_verdict_ends_all_connections() {
    let _turn = alone();
    let builder = builder().dataplane(Dataplane::SocketAndPacket).masters(2);
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    lab.agent_config(in_turn).unwrap();
    let agent = started(&lab);
    for (who, client) in clients(&lab) {
        let report = requests(client, VIP, "v4", 8);
        assert_eq!(report.raw["served"], json!({"m1": 4, "m2": 4}), "{who}: {report:?}");
        assert_eq!(report.raw["peers"], json!({VIP: 8}), "{who}: {report:?}");
    }
    let held = clients(&lab).map(|(who, client)| (who, Load::on(&lab, client, "v4", 0, HELD)));
    eventually(SOON, "each connection is counted once", || {
        let active = active(&agent)?;
        if active == u64::from(3 * HELD) { Ok(()) } else { Err(format!("{active}")) }
    })
    .unwrap();
    let shown = view(&lab);
    let own = format!("{}:", lab.node().host().v4());
    let of_node = |one: &&Value| one["client"].as_str().unwrap().starts_with(&own);
    let open = connections(&shown).iter().filter(|one| one["state"] == "open");
    assert_eq!(open.clone().filter(of_node).count(), 0, "the node's own go by socket hooks: {shown}");
    assert_eq!(open.count(), 2 * HELD as usize, "{shown}");

    let m1 = lab.master(0);
    let moment = unix_ms();
    m1.cut().unwrap();
    await_health(&agent, m1.address(), "dead", SOON);
    held[0].1.run_on(Duration::from_millis(500));
    for (who, held) in held {
        let held = held.stop();
        let ends = held.ends("m1", moment);
        assert_eq!(ends.len() as u64, held.held("m1"), "{who}: {held:?}");
        assert!(!ends.is_empty() && held.broken() == ends.len() as u64, "{who}: {held:?}");
        assert!(ends.iter().all(|end| *end <= ms(ENDED)), "{who}: {held:?}");
        let ending = if who == "node" { "ECONNABORTED" } else { "ECONNRESET" };
        assert!(held.endings("m1").iter().all(|end| *end == ending), "{who}: {held:?}");
    }
}
