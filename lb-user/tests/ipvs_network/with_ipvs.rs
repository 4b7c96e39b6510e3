//! The same with IPVS itself, made by ipvsadm(8).

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use lb_core::model::Scope;
use lb_user::{
    dataplane::{
        ipvs::kernel::{
            nft::{self, Table},
            route,
            sysctl::{self, Sysctl},
        },
        tc,
    },
    os::netlink::vip_routes::VipRoute,
};

use crate::fixture::{Lab, MASTER, MASTER6, NODE, NODE6, Netns, ip};

const VIPS: [(&str, &str, &str); 2] =
    [("10.103.97.2:6443", MASTER, NODE), ("[fd00::2]:6443", MASTER6, NODE6)];

/// Everything that a service needs, with the master as its only destination.
fn program(node: &Netns, scope: Scope, state_dir: &Path) {
    for (vip, master, _) in VIPS {
        let vip: SocketAddr = vip.parse().unwrap();
        let backend = SocketAddr::new(ip(master), 6443);
        node.sh(&format!("ipvsadm -A -t {vip} -s rr; ipvsadm -a -t {vip} -r {backend} -m"));
        node.run(|| {
            let source = route::source_towards(backend.ip()).unwrap();
            route::set(vip.ip(), source).unwrap();
        });
    }
    let vips: BTreeSet<SocketAddr> = VIPS.iter().map(|(vip, ..)| vip.parse().unwrap()).collect();
    node.run(|| {
        nft::replace(&Table { scope, vips, refused: BTreeSet::new() }).unwrap();
        for (sysctl, value) in sysctl::wanted(scope) {
            sysctl::set(state_dir, sysctl, value).unwrap();
        }
    });
}

#[test]
fn the_node_and_its_pods_reach_a_master_that_knows_only_the_node() {
    let (lab, state) = (Lab::new(), tempfile::tempdir().unwrap());
    let accepted = lab.master.accept("[::]:6443");
    program(&lab.node, Scope::Node, state.path());
    for (vip, _, source) in VIPS {
        for client in [&lab.node, &lab.pod] {
            client.connect(vip.parse().unwrap()).unwrap();
            assert_eq!(accepted.recv().unwrap().ip().to_canonical(), ip(source), "{vip}");
        }
    }
}

/// Both dataplanes' routes are there while one takes over from the other.
#[test]
fn the_nodes_own_connections_go_on_beside_the_packet_dataplanes_route() {
    let (lab, state) = (Lab::new(), tempfile::tempdir().unwrap());
    let listener = lab.master.run(|| TcpListener::bind("[::]:6443")).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let echoes = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])).is_ok()
    };
    program(&lab.node, Scope::Node, state.path());
    for (vip, _, source) in VIPS {
        let vip: SocketAddr = vip.parse().unwrap();
        let mut old = lab.node.connect(vip).unwrap();
        let mut pods = lab.pod.connect(vip).unwrap();
        assert!(echoes(&mut old) && echoes(&mut pods), "{vip}");
        let route = VipRoute { source: Some(ip(source)), mtu: None };
        lab.node.run(|| tc::ROUTES.set(vip.ip(), route)).unwrap();
        assert!(echoes(&mut old), "{vip}: one that was there");
        assert!(echoes(&mut lab.node.connect(vip).unwrap()), "{vip}: a new one");
        assert_eq!(echoes(&mut pods), vip.is_ipv6(), "{vip}: a pod's");
        lab.node.run(|| tc::ROUTES.remove(vip.ip())).unwrap();
        assert!(echoes(&mut old) && echoes(&mut lab.pod.connect(vip).unwrap()), "{vip}");
    }
}

#[test]
fn with_scope_host_the_node_reaches_a_master_and_a_pod_is_refused_at_once() {
    let (lab, state) = (Lab::new(), tempfile::tempdir().unwrap());
    let accepted = lab.master.accept("[::]:6443");
    program(&lab.node, Scope::Host, state.path());
    for (vip, _, source) in VIPS {
        let vip = vip.parse().unwrap();
        let started = Instant::now();
        assert_eq!(lab.pod.connect(vip).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{vip}");
        assert!(started.elapsed().as_millis() < 800, "{:?}", started.elapsed());
        lab.node.connect(vip).unwrap();
        assert_eq!(accepted.recv().unwrap().ip().to_canonical(), ip(source), "{vip}");
    }
}

#[test]
fn a_backend_on_the_node_itself_is_reached_by_the_node_and_its_pods() {
    let (lab, state) = (Lab::new(), tempfile::tempdir().unwrap());
    program(&lab.node, Scope::Node, state.path());
    let accepted = lab.node.accept("[::]:6443");
    for (vip, master, source) in VIPS {
        lab.node.sh(&format!(
            "ipvsadm -d -t {vip} -r {}; ipvsadm -a -t {vip} -r {} -m",
            SocketAddr::new(ip(master), 6443),
            SocketAddr::new(ip(source), 6443)
        ));
        for client in [&lab.node, &lab.pod] {
            let stream = client.connect(vip.parse().unwrap()).unwrap();
            let seen = accepted.recv().unwrap();
            assert_eq!(seen.port(), stream.local_addr().unwrap().port(), "{vip}: {seen}");
        }
    }
}

#[test]
fn the_settings_of_ipvs_are_put_back() {
    let (node, state) = (Netns::new("node"), tempfile::tempdir().unwrap());
    node.sh("ipvsadm -Ln");
    let before = node.run(sysctl::observe).unwrap();
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), Sysctl::ALL);
    let wanted = sysctl::wanted(Scope::Node);
    for (sysctl, value) in &wanted {
        node.run(|| sysctl::set(state.path(), *sysctl, *value)).unwrap();
    }
    assert_eq!(node.run(sysctl::observe).unwrap(), wanted);
    assert_ne!(before, wanted);
    assert!(!node.run(|| sysctl::restore(state.path())).unwrap().is_empty());
    assert_eq!(node.run(sysctl::observe).unwrap(), before);
}
