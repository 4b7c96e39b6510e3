//! Who reaches what through a VIP.

use std::{
    io,
    time::{Duration, Instant},
};

use lb_core::model::Scope;

use crate::lab::{Lab, NODE, VIP, VIP6, desired, service};

#[test]
fn the_node_reaches_a_master_from_an_address_that_it_can_answer() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let addresses = lab.node.sh("ip -o addr");
    lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[], &[])))).unwrap();
    for (vip, source) in [(VIP, NODE), (VIP6, "fd77::1")] {
        let (stream, name) = lab.node.connect(vip).unwrap();
        assert_eq!((name, stream.peer_addr().unwrap()), (1, vip.parse().unwrap()));
        assert_eq!(lab.last_client(1).unwrap().to_string(), source);
    }
    assert_eq!(lab.node.sh("ip -o addr"), addresses, "the VIPs are nobody's addresses");
}

#[test]
fn a_backend_on_the_node_itself_is_reached_like_the_others() {
    for scope in [Scope::Host, Scope::Node] {
        let lab = Lab::new();
        let mut plane = lab.open(scope);
        for serving in [&[(0, 1)][..], &[(0, 1), (1, 1)]] {
            let services = [VIP, VIP6].map(|vip| service(vip, serving, &[], &[]));
            lab.reconcile(&mut plane, &desired(services)).unwrap();
            for vip in [VIP, VIP6] {
                let mut seen: Vec<_> = serving.iter().map(|_| lab.node.connect(vip).unwrap().1).collect();
                seen.sort_unstable();
                assert_eq!(seen, serving.iter().map(|(n, _)| *n).collect::<Vec<_>>(), "{scope} {vip}");
            }
        }
        lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[], &[0]))))
            .unwrap();
        assert_eq!(lab.node.connect(VIP).unwrap().1, 1, "when the own one is down, the others");
    }
}

#[test]
fn with_scope_node_a_pod_reaches_masters_that_know_only_the_node_and_the_nodes_own() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Node);
    for number in [1, 0] {
        let services = [VIP, VIP6].map(|vip| service(vip, &[(number, 1)], &[], &[]));
        lab.reconcile(&mut plane, &desired(services)).unwrap();
        for vip in [VIP, VIP6] {
            for client in [&lab.pod, &lab.node] {
                assert_eq!(client.connect(vip).unwrap().1, number, "{vip}");
            }
        }
    }
}

#[test]
fn with_scope_host_a_pod_is_refused_at_once() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[], &[])))).unwrap();
    for vip in [VIP, VIP6] {
        let started = Instant::now();
        assert_eq!(lab.pod.connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{vip}");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert_eq!(lab.node.connect(vip).unwrap().1, 1);
    }
}

#[test]
fn a_service_that_nobody_serves_refuses_at_once() {
    for scope in [Scope::Host, Scope::Node] {
        let lab = Lab::new();
        let mut plane = lab.open(scope);
        for (members, severed) in [(&[1, 2][..], &[][..]), (&[], &[1, 2])] {
            let services = [VIP, VIP6].map(|vip| service(vip, &[], members, severed));
            lab.reconcile(&mut plane, &desired(services)).unwrap();
            for vip in [VIP, VIP6] {
                for (who, client) in [("node", &lab.node), ("pod", &lab.pod)] {
                    let started = Instant::now();
                    let error = client.dial(vip).unwrap_err();
                    let case = format!("{scope} {vip} {who}: {error} after {:?}", started.elapsed());
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{case}");
                    assert!(started.elapsed() < Duration::from_millis(500), "{case}");
                }
            }
        }
    }
}
