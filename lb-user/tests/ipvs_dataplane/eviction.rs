//! Connections to a backend that died.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use lb_core::model::Scope;
use lb_user::dataplane::{Evicted, Plane as _, ipvs::IpvsDataplane};

use crate::lab::{Lab, VIP, VIP6, all_of, desired, eventually, master, master6, service};

/// Master 1 dies, master 2 takes over.
fn kill_first(lab: &Lab, plane: &mut IpvsDataplane) {
    lab.reconcile(plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(2, 1)], &[], &[1])))).unwrap();
}

fn evict(lab: &Lab, plane: &mut IpvsDataplane) -> Evicted {
    lab.node.run(|| plane.evict(&[all_of(master(1)), all_of(master6(1))])).unwrap()
}

fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let kind = stream.read(&mut [0]).unwrap_err().kind();
    stream.set_nonblocking(false).unwrap();
    kind == io::ErrorKind::WouldBlock
}

#[test]
fn sockets_on_a_dead_backend_are_ended_at_once_and_no_others() {
    for scope in [Scope::Host, Scope::Node] {
        let lab = Lab::new();
        let mut plane = lab.open(scope);
        lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[2], &[]))))
            .unwrap();
        let dying: Vec<_> =
            [VIP, "[::ffff:10.103.97.2]:6443", VIP6].map(|a| lab.node.connect(a).unwrap().0).into();
        let mut direct = lab.node.connect(&master(1).to_string()).unwrap().0;
        lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(2, 1)], &[1], &[]))))
            .unwrap();
        let mut well = lab.node.connect(VIP).unwrap();
        assert_eq!(well.1, 2);
        kill_first(&lab, &mut plane);
        assert_eq!(evict(&lab, &mut plane), Evicted { ended: 3, failed: 0 }, "{scope}");
        for mut stream in dying {
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        }
        assert!(is_open(&mut well.0) && is_open(&mut direct));
        assert_eq!(evict(&lab, &mut plane), Evicted::default(), "another sweep finds nobody");
    }
}

#[test]
fn a_pods_sockets_are_ended_too() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Node);
    lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[2], &[])))).unwrap();
    let streams = [VIP, VIP6].map(|vip| lab.pod.connect(vip).unwrap().0);
    kill_first(&lab, &mut plane);
    assert_eq!(evict(&lab, &mut plane), Evicted { ended: 2, failed: 0 });
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}

#[test]
fn a_connect_that_is_being_made_is_ended_too() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 1)], &[2], &[])])).unwrap();
    // What arrives there vanishes.
    lab.masters[0].sh(
        "nft add table ip cut; nft 'add chain ip cut in { type filter hook input priority 0; policy drop; }'",
    );
    thread::scope(|scope| {
        let (lab, started) = (&lab, Instant::now());
        let connect = scope.spawn(move || (lab.node.dial(VIP), started.elapsed()));
        eventually("the connect is under way", || lab.node.sh("ipvsadm -Lnc").contains("SYN_RECV"));
        kill_first(lab, &mut plane);
        assert_eq!(evict(lab, &mut plane), Evicted { ended: 1, failed: 0 });
        let (result, took) = connect.join().unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(took < Duration::from_secs(3), "{took:?}");
    });
    assert_eq!(lab.node.connect(VIP).unwrap().1, 2);
}

/// As for sockets that cannot be found: of another host, or in a namespace that cannot be entered.
#[test]
fn a_connection_that_is_not_ended_does_not_hang() {
    for scope in [Scope::Host, Scope::Node] {
        let lab = Lab::new();
        let mut plane = lab.open(scope);
        lab.reconcile(&mut plane, &desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[2], &[]))))
            .unwrap();
        let clients = match scope {
            Scope::Host => vec![&lab.node],
            Scope::Node => vec![&lab.node, &lab.pod],
        };
        let mut streams = Vec::new();
        for (client, vip) in clients.into_iter().flat_map(|client| [(client, VIP), (client, VIP6)]) {
            streams.push((client.connect(vip).unwrap().0, vip));
        }
        kill_first(&lab, &mut plane);
        for (mut stream, vip) in streams {
            stream.write_all(b"x").unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{scope} {vip}: {error}");
        }
        let table = lab.node.sh("ipvsadm -Lnc");
        let dead: SocketAddr = master(1);
        assert!(!table.contains(&format!("{dead} ")), "{table}");
    }
}

#[test]
fn a_backend_that_is_not_ready_keeps_its_connections_and_gets_no_new_ones() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 1)], &[2], &[])])).unwrap();
    let (mut old, _) = lab.node.connect(VIP).unwrap();
    lab.reconcile(&mut plane, &desired([service(VIP, &[(2, 1)], &[1], &[])])).unwrap();
    old.write_all(b"x").unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(is_open(&mut old));
    assert!((0..5).all(|_| lab.node.connect(VIP).unwrap().1 == 2));
    let active = lab.node.run(|| plane.counters()).unwrap()[&(VIP.parse().unwrap(), master(1))].active;
    assert_eq!(active, 1);
}

#[test]
fn a_backend_that_comes_back_serves_again() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let first = desired([service(VIP, &[(1, 1)], &[2], &[])]);
    lab.reconcile(&mut plane, &first).unwrap();
    let _held = lab.node.connect(VIP).unwrap();
    kill_first(&lab, &mut plane);
    evict(&lab, &mut plane);
    lab.reconcile(&mut plane, &first).unwrap();
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1);
}
