//! lbctl on masters: the very first one, one that joins, one that is upgraded, one that others join.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::agent::{await_serving, fast};
use common::load::{Load, assert_untouched, figure, requests, syn};
use common::quiet::{alone, beside_others};
use common::{SOON, kubeconfig, list};
use lb_tests::Lab;
use lb_tests::lab::{Launch, Master, VIP};
use lb_tests::pki::Valid;
use lb_tests::slowness::stretched;
use lb_tests::wait::eventually;

const CLIENTS: u32 = 4;
const HELD: u32 = 9;
/// From the moment that the first apiserver listens until the virtual address leads to it, at default settings: it is
/// probed every 2 s.
const FIRST: Duration = Duration::from_secs(4);
/// As `--shutdown-delay-duration` of a cluster whose clients are balanced by `/readyz`, only shorter.
const DELAY: Duration = Duration::from_secs(2);

/// What `prefer: local` needs, with these backends.
fn prefer_local(lab: &Lab, backends: &[&Master], change: impl FnOnce(&mut serde_yaml::Value)) {
    let addresses: Vec<_> = backends.iter().map(|master| master.address().to_string()).collect();
    lab.agent_config(|yaml| {
        let service = &mut yaml["services"][0];
        service["backends"] = serde_yaml::to_value(addresses).unwrap();
        service["prefer"] = "local".into();
        change(yaml);
    })
    .unwrap();
}

fn all_by(lab: &Lab, master: &Master) {
    let report = requests(lab.node(), VIP, "v4", 30);
    assert_eq!(report.served(master.name()), 30, "{report:?}");
}

#[test]
fn on_the_very_first_master_the_address_leads_to_its_apiserver_as_soon_as_there_is_one() {
    let _turn = beside_others();
    let builder = Lab::builder().masters(0).local_master().not_started();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let own = lab.master(0);
    prefer_local(&lab, &[own], |_| ());
    let agent = lab.start_agent().unwrap();
    let (result, took) = syn(lab.node(), VIP);
    assert!(
        result != "connected" && took < 1_000,
        "before kubeadm init it fails at once: {result}, {took} ms"
    );
    own.start().unwrap();
    let began = Instant::now();
    eventually(SOON, "the virtual address leads to it", || {
        let report = requests(lab.node(), VIP, "v4", 1);
        if report.ok() == 1 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();
    let after = began.elapsed();
    figure(&format!("the first apiserver is reached {after:.1?} after it listens"));
    assert!(after <= stretched(FIRST), "{after:.1?}");
    await_serving(&agent, &[own], SOON);
}

#[test]
fn a_master_joins_through_another_one_and_then_uses_its_own_apiserver() {
    let _turn = alone();
    let builder = Lab::builder().masters(1).local_master().not_started();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let [first, own] = [0, 1].map(|n| lab.master(n));
    first.start().unwrap();
    prefer_local(&lab, &[first, own], fast);
    let once = lab.lbctl(&["run", "--once", "--wait", "60s"]).unwrap();
    assert_eq!(once.code(), 0, "{}", once.stderr);
    all_by(&lab, first);
    // `kubeadm join --control-plane` is under way, and the agent runs already.
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    let agent = lab.start_agent().unwrap();
    load.more(50);
    own.start().unwrap();
    await_serving(&agent, &[own], SOON);
    load.more(50);
    assert_untouched(&load.stop());
    all_by(&lab, own);
}

#[test]
fn while_a_masters_apiserver_is_upgraded_its_node_uses_the_others() {
    let _turn = alone();
    let Some(lab) = Lab::builder().masters(2).local_master().build_or_skip().unwrap() else { return };
    let [m1, m2, own] = [0, 1, 2].map(|n| lab.master(n));
    own.kill().unwrap();
    own.start_as(Launch { shutdown_delay: DELAY, ..Launch::default() }).unwrap();
    prefer_local(&lab, &[m1, m2, own], fast);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[own], SOON);
    let load = Load::start(&lab, "v4", CLIENTS, 0);
    load.more(50);
    // kubeadm upgrade replaces the static pod: the old apiserver shuts down gracefully, and then there is a new one.
    own.ask_to_end().unwrap();
    await_serving(&agent, &[m1, m2], SOON);
    own.terminate().unwrap();
    load.more(50);
    own.start().unwrap();
    await_serving(&agent, &[own], SOON);
    load.more(50);
    let report = load.stop();
    figure(&format!("an upgrade of the own apiserver: {} requests, {} failed", report.ok(), report.failed()));
    assert_untouched(&report);
    all_by(&lab, own);
}

#[test]
fn the_first_master_of_a_cluster_that_grows_to_three_keeps_to_itself_and_falls_over_to_the_others() {
    let _turn = alone();
    let builder = Lab::builder().masters(2).local_master().not_started();
    let Some(lab) = builder.build_or_skip().unwrap() else { return };
    let [m2, m3, own] = [0, 1, 2].map(|n| lab.master(n));
    own.start().unwrap();
    list(&lab, &[own]);
    kubeconfig::write(&lab, Valid::Now);
    prefer_local(&lab, &[own], |yaml| {
        fast(yaml);
        let discovery = &mut yaml["services"][0]["discovery"]["kubernetes"];
        discovery["kubeconfig"] = kubeconfig::path(&lab).to_string_lossy().as_ref().into();
    });
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[own], SOON);
    let load = Load::start(&lab, "v4", CLIENTS, HELD);
    for joined in [m2, m3] {
        joined.start().unwrap();
    }
    list(&lab, &[m2, m3, own]);
    eventually(SOON, "the others are known and up", || {
        let backends = common::agent::backends(&agent)?;
        let up = backends.iter().filter(|backend| backend["health"] == "up").count();
        if up == 3 { Ok(()) } else { Err(format!("{backends:?}")) }
    })
    .unwrap();
    load.more(50);
    assert_untouched(&load.stop());
    all_by(&lab, own);
    own.kill().unwrap();
    await_serving(&agent, &[m2, m3], SOON);
    assert_eq!(requests(lab.node(), VIP, "v4", 50).failed(), 0);
}
