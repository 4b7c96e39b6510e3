//! Connections to a master that died end, for those too whose sockets are not on the node.

use std::time::Duration;

use lb_tests::lab::Master;

use super::setup::{builder, forwarded, started};
use crate::common::SOON;
use crate::common::agent::{await_health, await_serving, unhurried};
use crate::common::load::{Load, figure, ms, unix_ms};
use crate::common::quiet::alone;

/// In turn, so that each master has a third.
const HELD: u32 = 12;
/// By the issue.
const ENDED: Duration = Duration::from_secs(2);

/// Held connections to `victim` end in one of these ways, those to others go on.
fn all_end(what: &str, fault: fn(&Master) -> anyhow::Result<()>, endings: &[&str]) {
    let _turn = alone();
    let Some(lab) = builder().masters(3).build_or_skip().unwrap() else { return };
    lab.agent_config(|config| {
        unhurried(config);
        config["scope"] = "node".into();
        config["services"][0]["policy"] = "round-robin".into();
    })
    .unwrap();
    let agent = started(&lab);
    let victim = lab.master(0);
    let held = forwarded(&lab).map(|(who, client)| (who, Load::on(&lab, client, "v4", 0, HELD)));
    let moment = unix_ms();
    fault(victim).unwrap();
    await_health(&agent, victim.address(), "dead", SOON);
    await_serving(&agent, &[lab.master(1), lab.master(2)], SOON);
    held[0].1.run_on(ENDED);
    for (who, held) in held {
        let held = held.stop();
        let ends = held.ends(victim.name(), moment);
        figure(&format!(
            "{what}, {who}: connections ended after {ends:?} ms, {:?}",
            held.endings(victim.name())
        ));
        assert_eq!(held.held(victim.name()), u64::from(HELD / 3), "{who}: {held:?}");
        assert_eq!(ends.len() as u64, u64::from(HELD / 3), "{what}, {who}: all of them end: {held:?}");
        assert_eq!(held.broken(), ends.len() as u64, "{what}, {who}: those to others go on: {held:?}");
        assert!(ends.iter().all(|end| *end <= ms(ENDED)), "{what}, {who}: {ends:?}");
        assert!(
            held.endings(victim.name()).iter().all(|end| endings.contains(end)),
            "{what}, {who}: {held:?}"
        );
    }
}

/// The master's kernel says so itself where it can; its RST or FIN comes through.
#[test]
fn connections_to_a_killed_master_end() {
    all_end("SIGKILL", Master::kill, &["ECONNRESET", "eof"]);
}

#[test]
fn connections_to_a_master_that_lost_power_are_reset() {
    all_end("power loss", Master::cut, &["ECONNRESET"]);
}
