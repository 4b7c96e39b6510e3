//! What is programmed, as ipvsadm tells it.

use lb_core::model::{Policy, Scope};
use lb_user::dataplane::Plane as _;

use crate::lab::{Lab, VIP, VIP6, desired, eventually, master, service};

#[test]
fn each_state_of_a_backend_is_a_weight_or_no_destination() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    for (serving, members, severed, expected) in [
        (&[(1, 2), (2, 1)][..], &[3][..], &[][..], &[(1, 2), (2, 1), (3, 0)][..]),
        (&[(2, 1)], &[1], &[3], &[(1, 0), (2, 1)]),
        (&[(1, 7), (3, 1)], &[], &[2], &[(1, 7), (3, 1)]),
        (&[], &[1, 2, 3], &[], &[(1, 0), (2, 0), (3, 0)]),
        (&[], &[], &[1, 2, 3], &[]),
        (&[(1, 1), (2, 1), (3, 1)], &[], &[], &[(1, 1), (2, 1), (3, 1)]),
    ] {
        let state = desired([service(VIP, serving, members, severed)]);
        assert_ne!(lab.reconcile(&mut plane, &state).unwrap(), 0);
        let mut lines = lab.listed();
        lines.sort();
        let mut wanted: Vec<_> =
            expected.iter().map(|(n, w)| format!("-> {} Masq {w}", master(*n))).collect();
        wanted.push(format!("TCP {VIP} wrr"));
        assert_eq!(lines, wanted);
        assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0, "and then nothing is left to do");
    }
}

#[test]
fn an_ipv6_service_is_programmed_like_any_other() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Node);
    let state = desired([service(VIP6, &[(1, 2)], &[2], &[3])]);
    lab.reconcile(&mut plane, &state).unwrap();
    let mut lines = lab.listed();
    lines.sort();
    assert_eq!(lines, ["-> [fd77::11]:6443 Masq 2", "-> [fd77::12]:6443 Masq 0", "TCP [fd00::2]:6443 wrr"]);
    assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0);
}

#[test]
fn each_policy_is_a_scheduler_and_can_be_changed_in_place() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    for (policy, line) in [
        (Policy::Random, "TCP 10.103.97.2:6443 wrr"),
        (Policy::LeastConn, "TCP 10.103.97.2:6443 wlc"),
        (Policy::Sticky, "TCP 10.103.97.2:6443 mh (mh-fallback)"),
        (Policy::RoundRobin, "TCP 10.103.97.2:6443 wrr"),
    ] {
        let mut service = service(VIP, &[(1, 1)], &[], &[]);
        service.policy = policy;
        let state = desired([service]);
        lab.reconcile(&mut plane, &state).unwrap();
        assert_eq!(lab.listed()[0], line);
        assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0, "{policy}");
    }
}

#[test]
fn new_connections_are_shared_by_weight_and_counted() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 3), (2, 1)], &[3], &[])])).unwrap();
    let streams: Vec<_> = (0..12).map(|_| lab.node.connect(VIP).unwrap()).collect();
    let to = |n| streams.iter().filter(|(_, name)| *name == n).count();
    assert_eq!((to(1), to(2), to(3)), (9, 3, 0));
    let mut counted = |n| {
        let counters = lab.node.run(|| plane.counters()).unwrap();
        let counted = counters[&(VIP.parse().unwrap(), master(n))];
        (counted.active, counted.total)
    };
    assert_eq!([1, 2, 3].map(|n| counted(n).0), [9, 3, 0]);
    // The kernel adds up every two seconds, net/netfilter/ipvs/ip_vs_est.c.
    eventually("all are counted", || [1, 2, 3].map(&mut counted) == [(9, 9), (3, 3), (0, 0)]);
}

#[test]
fn sticky_keeps_a_node_at_one_backend_until_that_is_gone() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let sticky = |serving: &[(u8, u32)], members: &[u8], severed: &[u8]| {
        let mut service = service(VIP, serving, members, severed);
        service.policy = Policy::Sticky;
        desired([service])
    };
    lab.reconcile(&mut plane, &sticky(&[(1, 1), (2, 1), (3, 1)], &[], &[])).unwrap();
    let who = || lab.node.connect(VIP).unwrap().1;
    let first = who();
    assert!((0..10).all(|_| who() == first));
    let others: Vec<_> = (1..=3).filter(|n| *n != first).map(|n| (n, 1)).collect();
    for (members, severed) in [(vec![first], vec![]), (vec![], vec![first])] {
        lab.reconcile(&mut plane, &sticky(&others, &members, &severed)).unwrap();
        let second = who();
        assert_ne!(second, first);
        assert!((0..10).all(|_| who() == second));
    }
}
