//! What outlives the agent, and what goes with it.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_core::model::{Policy, Scope};
use lb_user::dataplane::{Plane as _, ipvs::IpvsDataplane};

use crate::lab::{Lab, VIP, VIP6, all_of, desired, master, service};

fn peek(lab: &Lab) -> Option<Vec<SocketAddr>> {
    let held = lab.node.run(|| IpvsDataplane::peek(lab.state.path())).unwrap();
    held.map(|services| services.into_keys().collect())
}

#[test]
fn the_next_agent_finds_what_the_last_one_left_and_prunes_it() {
    let lab = Lab::new();
    assert_eq!(peek(&lab), None);
    let mut plane = lab.open(Scope::Node);
    let both = [service(VIP, &[(1, 2)], &[2], &[3]), service("10.103.97.3:6443", &[(2, 1)], &[], &[])];
    lab.reconcile(&mut plane, &desired(both)).unwrap();
    let (stream, _) = lab.node.connect(VIP).unwrap();
    drop(plane);
    assert_eq!(peek(&lab).unwrap().len(), 2);

    let mut plane = lab.open(Scope::Node);
    let held = lab.node.run(|| plane.services()).unwrap();
    let first = &held[&VIP.parse().unwrap()];
    assert_eq!((first.policy, &first.name), (Policy::RoundRobin, &None));
    assert_eq!(first.weights, [(master(1), 2)].into(), "the dead one has no share");
    assert_eq!(first.members, [master(1), master(2)].into());
    let counters = lab.node.run(IpvsDataplane::peek_counters).unwrap();
    assert_eq!(counters[&(VIP.parse().unwrap(), master(1))].active, 1);

    let pruned = desired([service(VIP, &[(1, 2)], &[2], &[3])]);
    lab.reconcile(&mut plane, &pruned).unwrap();
    assert_eq!(lab.listed().len(), 3);
    assert!(!lab.node.sh("ip route show table local").contains("10.103.97.3"));
    assert!(!lab.node.sh("nft list ruleset").contains("10.103.97.3"));
    assert_eq!(peek(&lab), Some(vec![VIP.parse().unwrap()]));
    assert_eq!(stream.peer_addr().unwrap(), VIP.parse().unwrap());
}

#[test]
fn services_are_recognised_even_when_their_marks_are_gone() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 1)], &[], &[])])).unwrap();
    drop(plane);
    lab.node.sh("nft flush ruleset");
    assert_eq!(peek(&lab), Some(vec![VIP.parse().unwrap()]));
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service("10.103.97.3:6443", &[(2, 1)], &[], &[])])).unwrap();
    assert_eq!(lab.listed(), [format!("TCP 10.103.97.3:6443 wrr"), format!("-> {} Masq 1", master(2))]);
}

#[test]
fn cleanup_leaves_nothing_and_can_be_run_twice() {
    let lab = Lab::new();
    let state_of = || {
        let parts =
            ["ipvsadm -Sn", "nft list ruleset", "ip route show table all", "ip -6 route show table all"];
        let mut texts: Vec<_> = parts.map(|part| lab.node.sh(part)).into();
        texts.push(
            lab.node.sh("grep . /proc/sys/net/ipv4/vs/conntrack /proc/sys/net/ipv4/vs/expire_nodest_conn"),
        );
        texts
    };
    let before = state_of();
    let mut plane = lab.open(Scope::Node);
    lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[2], &[])))).unwrap();
    drop(plane);
    assert_ne!(state_of(), before);
    let removed = lab.node.run(|| IpvsDataplane::cleanup(lab.state.path())).unwrap();
    println!("{removed:#?}");
    for what in
        ["IPVS service at 10.103.97.2:6443", "fd00::2", "nftables", "route to 10.103.97.2", "conntrack"]
    {
        assert!(removed.iter().any(|line| line.contains(what)), "{what}: {removed:?}");
    }
    assert_eq!(state_of(), before);
    assert_eq!(lab.node.run(|| IpvsDataplane::cleanup(lab.state.path())).unwrap(), Vec::<String>::new());
    assert_eq!(peek(&lab), None);
    assert!(lab.state.path().read_dir().unwrap().next().is_none());
}

#[test]
fn one_that_is_left_takes_nobody_while_its_connections_go_on() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let state = desired([service(VIP, &[(1, 1), (2, 1)], &[], &[])]);
    lab.reconcile(&mut plane, &state).unwrap();
    let (stream, name) = lab.node.connect(VIP).unwrap();
    lab.node.run(|| plane.quiesce()).unwrap();
    for _ in 0..2 {
        let started = Instant::now();
        assert_eq!(lab.node.dial(VIP).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        let counters = lab.node.run(|| plane.counters()).unwrap();
        assert_eq!(counters.values().map(|counted| counted.active).sum::<u64>(), 1);
        assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0, "nor does it after the next comparison");
    }
    let dead = master(name);
    let others: Vec<_> = (1..=2).filter(|n| *n != name).map(|n| (n, 1)).collect();
    lab.reconcile(&mut plane, &desired([service(VIP, &others, &[], &[name])])).unwrap();
    let evicted = lab.node.run(|| plane.evict(&[all_of(dead)])).unwrap();
    assert_eq!(evicted.ended, 1);
    drop(stream);
    lab.node.run(|| plane.remove()).unwrap();
    assert_eq!(lab.listed(), Vec::<String>::new());
}
