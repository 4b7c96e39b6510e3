//! `lbctl connections` and what else is told of packets: with the agent, without it, in metrics, in plans; and what it takes
//! to translate them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use lb_tests::lab::{Agent, Dataplane, VIP};
use lb_tests::wait::eventually;
use lb_tests::{Lab, binaries};
use serde_json::Value;

use crate::common::SOON;
use crate::common::agent::{await_serving, fast};
use crate::common::load::Load;
use crate::common::quiet::alone;

/// Connections that a virtual machine and the node hold each.
const HELD: u32 = 4;

fn running(lab: &Lab) -> Agent {
    lab.agent_config(|config| {
        fast(config);
        config["scope"] = "node".into();
        config["services"][0]["policy"] = "round-robin".into();
    })
    .unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &lab.masters().iter().collect::<Vec<_>>(), SOON);
    eventually(SOON, "the kernel is programmed", || {
        let response = agent.request("GET", "/readyz", "").map_err(|error| format!("{error:#}"))?;
        if response.status == 200 { Ok(()) } else { Err(format!("{response:?}")) }
    })
    .unwrap();
    agent
}

fn lbctl(lab: &Lab, arguments: &[&str]) -> String {
    lab.lbctl(arguments).unwrap().success().unwrap()
}

fn view(lab: &Lab, arguments: &[&str]) -> Value {
    serde_json::from_str(&lbctl(lab, &[&["connections", "-o", "json"], arguments].concat())).unwrap()
}

/// Without the times, which go on.
fn timeless(mut view: Value) -> Value {
    for connection in view["connections"].as_array_mut().unwrap() {
        let connection = connection.as_object_mut().unwrap();
        assert!(connection.remove("ageSeconds").is_some() && connection.remove("idleSeconds").is_some());
    }
    view
}

/// The sum of a metric's samples whose labels contain this.
fn sum(metrics: &str, name: &str, part: &str) -> f64 {
    let samples = metrics.lines().filter(|line| line.starts_with(name) && line.contains(part));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn connections_are_told_alike_with_the_agent_and_without() {
    let _turn = alone();
    let builder = Lab::builder().dataplane(Dataplane::Packet).vm().masters(2);
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let mut agent = running(&lab);
    let held = [lab.vm(), lab.node()].map(|client| Load::on(&lab, client, "v4", 0, HELD));

    let all = timeless(view(&lab, &[]));
    let rows = all["connections"].as_array().unwrap();
    let open = rows.iter().filter(|row| row["state"] == "open");
    assert_eq!(open.clone().count(), 2 * HELD as usize, "{all}");
    assert_eq!(open.clone().filter(|row| row["host"] == true).count(), HELD as usize, "{all}");
    for row in open {
        assert_eq!((&row["vip"], &row["service"]), (&VIP.into(), &"apiserver".into()), "{all}");
        assert!((15_360..30_000).contains(&row["port"].as_u64().unwrap()), "{all}");
        assert_eq!(row["rescued"], false, "{all}");
    }
    assert_eq!(all["total"], rows.len(), "{all}");
    assert_eq!(all["counted"]["begun"], all["counted"]["opened"], "{all}");
    assert!(all["dropped"].as_object().unwrap().values().all(|count| count == 0), "{all}");
    assert_eq!((&all["capacity"]["open"], &all["capacity"]["opening"]), (&16_384.into(), &8192.into()));

    let master = lab.master(0).address().to_string();
    let to_one = view(&lab, &["--backend", &master]);
    assert_eq!(to_one["backends"].as_array().unwrap().len(), 1, "{to_one}");
    assert_eq!(to_one["backends"][0]["open"], HELD, "{to_one}");
    let summary = lbctl(&lab, &["connections", "--summary"]);
    assert!(summary.contains(&master) && !summary.contains("CLIENT"), "{summary}");
    let table = lbctl(&lab, &["connections"]);
    assert!(table.contains("CLIENT") && table.contains(&lab.vm().host().v4().to_string()), "{table}");

    let metrics = lab.node().curl(&["http://127.0.0.1:9464/metrics"]).unwrap().success().unwrap();
    assert_eq!(
        sum(&metrics, "lbctl_packet_connections{", "state=\"open\""),
        f64::from(2 * HELD),
        "{metrics}"
    );
    assert_eq!(sum(&metrics, "lbctl_packet_dropped_total{", ""), 0.0, "{metrics}");
    let planned = lbctl(&lab, &["plan"]);
    assert!(planned.contains("nothing to change"), "{planned}");

    assert_eq!(agent.terminate(SOON).unwrap().code(), 0);
    assert_eq!(timeless(view(&lab, &[])), all, "without the agent");
    let backends: Value = serde_json::from_str(&lbctl(&lab, &["backends", "-o", "json"])).unwrap();
    assert_eq!(backends["services"][0]["dataplanes"], serde_json::json!(["packet"]), "{backends}");
    let active: u64 = backends["services"][0]["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| backend["connections"]["active"].as_u64().unwrap())
        .sum();
    assert_eq!(active, u64::from(2 * HELD), "{backends}");
    for held in held {
        assert_eq!(held.stop().broken(), 0);
    }
}

#[test]
fn a_plan_says_what_would_be_done_and_does_nothing() {
    let _turn = alone();
    let builder = Lab::builder().dataplane(Dataplane::Packet).vm().masters(2);
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    lab.agent_config(fast).unwrap();
    for _ in 0..2 {
        let planned = lbctl(&lab, &["plan"]);
        for part in [
            "run a program on lo, out",
            "run a program on eth0, in",
            "run a program on tap0, out",
            "tell the programs",
            "route 10.103.97.2",
        ] {
            assert!(planned.contains(part), "{part} in {planned}");
        }
        let none = view(&lab, &[]);
        assert_eq!(none["capacity"], Value::Null, "{none}");
    }
    let doctor = lab.lbctl(&["doctor", "-o", "json"]).unwrap();
    let found: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let of = |code: &str| {
        found["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == code).cloned()
    };
    for code in ["PACKET-KERNEL", "PACKET-INTERFACES", "PACKET-FORWARDING", "PACKET-PORTS", "TC-FOREIGN"] {
        let finding = of(code).unwrap_or_else(|| unreachable!("{code} in {found}"));
        assert_eq!(finding["severity"], "ok", "{finding}");
    }
}

/// What `lbctl manifest` grants.
#[test]
fn four_capabilities_are_enough_to_translate_packets() {
    let _turn = alone();
    let builder = Lab::builder().dataplane(Dataplane::Packet).vm().masters(1);
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let config = lab.agent_config(fast).unwrap();
    let least = ["setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon,+net_raw", "--inh-caps=-all", "--"];
    let lbctl = binaries::lbctl().unwrap();
    let once = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "run", "--once"];
    let done = lab.node().run(&[&least[..], &once].concat()).unwrap();
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(!done.stderr.contains("CAP_"), "{}", done.stderr);
}
