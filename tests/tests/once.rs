//! `lbctl run --once`: for use before `kubeadm join`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::agent::listed;
use common::lab;
use common::load::{figure, requests};
use common::quiet::beside_others;
use lb_tests::Lab;
use lb_tests::lab::VIP;

/// From the start of a process to its end, what does not belong to the wait: 100 ms natively, more on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

#[test]
fn once_with_wait_and_all_masters_down_exits_3_when_the_time_is_up() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    let wait = Duration::from_secs(8);
    let began = Instant::now();
    let ended = lab.lbctl(&["run", "--once", "--wait", "8s"]).unwrap();
    let took = began.elapsed();
    figure(&format!("--wait 8s: exit {} after {took:.2?}", ended.code()));
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    assert!(took >= wait && took < wait + SLACK, "ended after {took:?}: {}", ended.stderr);
}

#[test]
fn once_with_wait_exits_0_within_a_second_of_the_first_master_coming_up() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    let mut once = lab.spawn_agent(&["--once", "--wait", "60s"]).unwrap();
    // The moment itself is what is tested.
    std::thread::sleep(Duration::from_secs(5));
    lab.master(2).start().unwrap();
    let up = Instant::now();
    let ended = once.wait(Duration::from_secs(10)).unwrap();
    let took = up.elapsed();
    figure(&format!("a master is up at 5 s: exit {} {took:.2?} later", ended.code()));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(took < Duration::from_secs(1), "ended {took:?} after the master was up: {}", ended.stderr);
    let report = requests(lab.node(), VIP, "v4", 50);
    assert_eq!(report.served("m3"), 50, "{report:?}");
}

#[test]
fn once_leaves_a_dataplane_that_works_and_can_be_listed_without_an_agent() {
    let _turn = beside_others();
    let Some(lab) = lab(3) else { return };
    let ended = lab.lbctl(&["run", "--once"]).unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!lab.admin_socket().exists(), "no admin socket stays");
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.failed()), (100, 0), "{report:?}");
    assert!(std::fs::read_to_string(lab.hosts_file()).unwrap().contains("10.103.97.2"));
    let backends = listed(&lab);
    assert_eq!(backends.len(), 3, "{backends:?}");
    for backend in backends {
        assert_eq!((&backend["health"], &backend["serving"]), (&"unknown".into(), &true.into()), "{backend}");
    }
}

#[test]
fn once_without_wait_and_all_masters_down_exits_3_soon() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().not_started().build_or_skip().unwrap() else { return };
    let began = Instant::now();
    let ended = lab.lbctl(&["run", "--once"]).unwrap();
    let took = began.elapsed();
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    // One probe of each, whose timeout is 1 s.
    assert!(took < Duration::from_secs(1) + SLACK, "ended after {took:?}");
}
