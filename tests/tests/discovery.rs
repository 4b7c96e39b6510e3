//! The agent follows the cluster's own list of apiservers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::agent::{await_health, await_serving, backends, fast, of_address, status};
use common::load::{figure, requests};
use common::quiet::beside_others;
use common::{SOON, kubeconfig, list};
use lb_tests::Lab;
use lb_tests::lab::{Agent, Master, VIP};
use lb_tests::pki::Valid;
use lb_tests::slowness::stretched;
use lb_tests::wait::eventually;

/// From a change of the list to its effect, where the list is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// From one look to the next where it is not.
const LOOK: &str = "1s";

/// A config that names only the first master.
fn one_seed(lab: &Lab) {
    let path = kubeconfig::path(lab);
    lab.agent_config(|yaml| {
        fast(yaml);
        let service = &mut yaml["services"][0];
        service["backends"] = serde_yaml::to_value([lab.master(0).address().to_string()]).unwrap();
        service["discovery"]["kubernetes"]["kubeconfig"] = path.to_string_lossy().as_ref().into();
        service["discovery"]["kubernetes"]["interval"] = LOOK.into();
    })
    .unwrap();
}

fn tell(lab: &Lab, command: &str) {
    lab.masters().iter().for_each(|master| drop(master.control(command).unwrap()));
}

fn lab() -> Option<Lab> {
    let lab = Lab::builder().build_or_skip().unwrap()?;
    kubeconfig::write(&lab, Valid::Now);
    one_seed(&lab);
    Some(lab)
}

fn await_warning(lab: &Lab, part: &str) {
    eventually(SOON, &format!("status warns of {part}"), || {
        let warnings = status(lab)["warnings"].to_string();
        if warnings.contains(part) { Ok(()) } else { Err(warnings) }
    })
    .unwrap();
}

fn addresses(agent: &Agent) -> Vec<String> {
    let all = backends(agent).unwrap();
    all.iter().map(|backend| backend["address"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn masters_that_join_and_leave_the_cluster_are_followed_within_five_seconds() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, m3] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    let began = Instant::now();
    list(&lab, &[m1, m2, m3]);
    await_serving(&agent, &[m1, m2, m3], stretched(WATCHED));
    figure(&format!("two masters more serve {:.2?} after they were listed", began.elapsed()));
    assert_eq!(requests(lab.node(), VIP, "v4", 60).failed(), 0);
    let began = Instant::now();
    list(&lab, &[m1, m2]);
    await_serving(&agent, &[m1, m2], stretched(WATCHED));
    figure(&format!("one that is not listed any more leaves after {:.2?}", began.elapsed()));
    assert_eq!(requests(lab.node(), VIP, "v4", 60).served("m3"), 0);
}

#[test]
fn where_watching_is_forbidden_the_list_is_read_from_time_to_time_until_it_is_allowed() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    tell(&lab, "/watch/forbidden");
    list(&lab, &[m1]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    list(&lab, &[m1, m2]);
    await_serving(&agent, &[m1, m2], SOON);
    list(&lab, &[m1]);
    await_serving(&agent, &[m1], SOON);
    assert_eq!(status(&lab)["warnings"], serde_json::json!([]));
    tell(&lab, "/watch/allowed");
    let read = || {
        let count = |master: &Master| {
            master.stats().unwrap()["requests"]["/api/v1/namespaces/default/endpoints/kubernetes"].as_u64()
        };
        lab.masters().iter().filter_map(count).sum::<u64>()
    };
    eventually(SOON, "the list is read no more", || {
        let before = read();
        std::thread::sleep(stretched(Duration::from_secs(2)));
        let more = read() - before;
        if more == 0 { Ok(()) } else { Err(format!("{more} reads in 2 s")) }
    })
    .unwrap();
}

#[test]
fn a_watch_that_is_gone_is_begun_anew_from_a_new_list() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    tell(&lab, "/watch/gone");
    list(&lab, &[m1]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    list(&lab, &[m1, m2]);
    await_serving(&agent, &[m1, m2], stretched(WATCHED));
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let asked = || {
        m1.stats().unwrap()["requests"][path].as_u64().unwrap()
            + m2.stats().unwrap()["requests"][path].as_u64().unwrap_or(0)
    };
    let before = asked();
    // The time itself is what is tested.
    std::thread::sleep(Duration::from_secs(3));
    let more = asked() - before;
    assert!(more <= 14, "{more} requests in three seconds: a list and a watch, at most every half second");
}

#[test]
fn a_watch_that_says_nothing_any_more_is_given_up() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    tell(&lab, "/watch/stalled");
    list(&lab, &[m1]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    list(&lab, &[m1, m2]);
    let began = Instant::now();
    await_serving(&agent, &[m1, m2], SOON);
    figure(&format!("the list is read anew {:.1?} after the watch went silent", began.elapsed()));
}

#[test]
fn a_watch_that_floods_is_read_at_a_pace() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    tell(&lab, "/watch/flood");
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1, m2], SOON);
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(3));
    // Ticks of 10 ms (USER_HZ): a tenth of a core.
    let used = ticks() - before;
    figure(&format!("{used} ticks of 10 ms in 3 s of 5,000 lines a second"));
    assert!(used <= 30, "{used} ticks of 10 ms in 3 s");
}

#[test]
fn a_kubeconfig_that_is_missing_is_waited_for_while_the_configs_masters_serve() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    std::fs::remove_file(kubeconfig::path(&lab)).unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    await_warning(&lab, "No such file");
    std::fs::write(kubeconfig::path(&lab), "{").unwrap();
    await_warning(&lab, "kubeconfig");
    kubeconfig::write(&lab, Valid::Now);
    await_serving(&agent, &[m1, m2], stretched(Duration::from_secs(40)));
    eventually(SOON, "no warning is left", || {
        let warnings = status(&lab)["warnings"].to_string();
        if warnings == "[]" { Ok(()) } else { Err(warnings) }
    })
    .unwrap();
}

#[test]
fn a_client_certificate_that_has_expired_is_told_and_changes_nothing_until_there_is_a_new_one() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    kubeconfig::write(&lab, Valid::NoLonger);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    await_warning(&lab, "has expired");
    assert_eq!(addresses(&agent), [m1.address().to_string()]);
    // As the kubelet replaces its own; the next attempt comes by itself.
    kubeconfig::write(&lab, Valid::Now);
    await_serving(&agent, &[m1, m2], stretched(Duration::from_secs(40)));
}

#[test]
fn a_list_that_is_empty_or_of_strangers_changes_nothing() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1, m2], SOON);
    for useless in ["none", "[fd00::1]:6443", VIP] {
        tell(&lab, &format!("/cluster/{useless}"));
        // There is nothing to wait for: nothing may happen.
        std::thread::sleep(Duration::from_millis(300));
        await_serving(&agent, &[m1, m2], SOON);
        await_warning(&lab, "list");
    }
}

#[test]
fn a_list_with_a_foreign_port_is_believed_and_the_configs_masters_stand_by() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1, m2], SOON);
    // Nobody answers there.
    let foreign = std::net::SocketAddr::new(m2.address().ip(), 7443);
    tell(&lab, &format!("/cluster/{foreign}"));
    await_health(&agent, foreign, "dead", SOON);
    await_serving(&agent, &[m1], SOON);
    assert_eq!(requests(lab.node(), VIP, "v4", 20).served("m1"), 20);
    let listed = of_address(&backends(&agent).unwrap(), m1.address()).unwrap();
    assert_eq!(listed["source"], "config", "{listed}");
}

#[test]
fn two_hundred_listed_apiservers_are_cut_to_what_a_service_can_have() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let m1 = lab.master(0);
    list(&lab, &[m1]);
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1], SOON);
    let many: Vec<_> = (0..200).map(|n| format!("192.168.0.{n}:6443")).collect();
    tell(&lab, &format!("/cluster/{},{}", m1.address(), many.join(",")));
    eventually(SOON, "64 backends", || {
        let count = addresses(&agent).len();
        if count == 64 { Ok(()) } else { Err(format!("{count}")) }
    })
    .unwrap();
    await_serving(&agent, &[m1], SOON);
    assert_eq!(requests(lab.node(), VIP, "v4", 20).served("m1"), 20);
}

#[test]
fn what_was_listed_is_known_after_a_restart_although_the_configs_master_is_gone() {
    let _turn = beside_others();
    let Some(lab) = lab() else { return };
    let [m1, m2, _] = [0, 1, 2].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    let mut agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m1, m2], SOON);
    agent.terminate(SOON).unwrap();
    m1.kill().unwrap();
    let agent = lab.start_agent().unwrap();
    await_serving(&agent, &[m2], SOON);
}
