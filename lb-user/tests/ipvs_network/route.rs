use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
};

use lb_user::dataplane::ipvs::kernel::route::{self, RouteError};

use crate::fixture::{Lab, MASTER, MASTER6, NODE, NODE6, Netns, ip};

/// The address that a connection of the node's own to the VIP begins with. The VIP is local: the node itself accepts.
fn source_of_own(node: &Netns, vip: IpAddr) -> IpAddr {
    node.connect(SocketAddr::new(vip, 6443)).unwrap().local_addr().unwrap().ip()
}

/// Addresses as `ip addr` shows them, without what changes by itself.
fn shown(node: &Netns) -> String {
    node.sh("ip -o addr show | sed 's/valid_lft.*//'")
}

#[test]
fn the_nodes_own_connections_begin_with_the_source_of_the_route() {
    let lab = Lab::new();
    let node = &lab.node;
    node.sh("ip addr add 192.168.77.9/24 dev eth0; ip addr add fd77::9/64 dev eth0 nodad");
    let _accepted = node.accept("[::]:6443");
    let addresses = shown(node);
    for (vip, sources) in [("10.103.97.2", [NODE, "192.168.77.9"]), ("fd00::2", [NODE6, "fd77::9"])] {
        let vip = ip(vip);
        for source in sources.map(ip) {
            node.run(|| route::set(vip, Some(source))).unwrap();
            assert_eq!(node.run(route::observe).unwrap(), BTreeMap::from([(vip, Some(source))]));
            assert_eq!(source_of_own(node, vip), source);
        }
        node.run(|| route::set(vip, None)).unwrap();
        assert_eq!(node.run(route::observe).unwrap(), BTreeMap::from([(vip, None)]));
        assert!(node.run(|| route::is_local(vip)).unwrap());
        assert_eq!(shown(node), addresses, "the VIP is no address of the node's");
        node.run(|| route::remove(vip)).unwrap();
        node.run(|| route::remove(vip)).unwrap();
        assert_eq!(node.run(route::observe).unwrap(), BTreeMap::new());
        assert!(!node.run(|| route::is_local(vip)).unwrap());
    }
}

#[test]
fn a_pods_packets_to_the_vip_are_delivered_to_the_node() {
    let lab = Lab::new();
    let accepted = lab.node.accept("[::]:6443");
    for (vip, pod) in [("10.103.97.2", "10.244.77.2"), ("fd00::2", "fd44::2")] {
        lab.node.run(|| route::set(ip(vip), None)).unwrap();
        lab.pod.connect(SocketAddr::new(ip(vip), 6443)).unwrap();
        assert_eq!(accepted.recv().unwrap().ip().to_canonical(), ip(pod));
    }
}

#[test]
fn a_source_that_the_node_loses_shows() {
    let lab = Lab::new();
    lab.node.sh("ip addr add 192.168.77.9/24 dev eth0; ip addr add fd77::9/64 dev eth0 nodad");
    for (vip, source, master) in [("10.103.97.2", "192.168.77.9", MASTER), ("fd00::2", "fd77::9", MASTER6)] {
        let (vip, source) = (ip(vip), ip(source));
        lab.node.run(|| route::set(vip, Some(source))).unwrap();
        lab.node.sh(&format!("ip addr del {source}/{} dev eth0", if vip.is_ipv4() { 24 } else { 64 }));
        let observed = lab.node.run(route::observe).unwrap().get(&vip).copied().flatten();
        let suggested = lab.node.run(|| route::source_towards(ip(master))).unwrap();
        assert_ne!(observed, suggested, "a comparison of the two mends it");
        lab.node.run(|| route::set(vip, suggested)).unwrap();
        assert_eq!(lab.node.run(route::observe).unwrap()[&vip], suggested);
    }
}

#[test]
fn the_source_towards_a_backend_is_the_one_that_the_kernel_would_use() {
    let lab = Lab::new();
    for (backend, source) in
        [(MASTER, Some(NODE)), (MASTER6, Some(NODE6)), ("172.20.0.1", None), ("fd99::1", None)]
    {
        assert_eq!(lab.node.run(|| route::source_towards(ip(backend))).unwrap(), source.map(ip), "{backend}");
    }
    lab.node.sh("ip route add unreachable 172.20.0.1; ip route add blackhole 172.20.0.2; ip route add prohibit 172.20.0.3");
    for backend in ["172.20.0.1", "172.20.0.2", "172.20.0.3"] {
        assert_eq!(lab.node.run(|| route::source_towards(ip(backend))).unwrap(), None, "{backend}");
    }
    for (address, local) in [
        (NODE, true),
        (NODE6, true),
        ("127.0.0.1", true),
        (MASTER, false),
        (MASTER6, false),
        ("fd99::1", false),
    ] {
        assert_eq!(lab.node.run(|| route::is_local(ip(address))).unwrap(), local, "{address}");
    }
}

#[test]
fn the_routes_of_others_stay() {
    let lab = Lab::new();
    let node = &lab.node;
    for (vip, source, family) in [("10.103.97.2", NODE, "-4"), ("fd00::2", NODE6, "-6")] {
        // Without the link-local ones, which come when they like.
        let local = || node.sh(&format!("ip {family} route show table local | grep -v -e fe80 -e ff00"));
        let nodad = if family == "-6" { "nodad" } else { "" };
        node.sh(&format!(
            "ip addr add {vip} dev br0 {nodad}; ip {family} route add local {vip} dev lo metric 7"
        ));
        let before = local();
        let vip = ip(vip);
        node.run(|| route::set(vip, None)).unwrap();
        node.run(|| route::set(vip, Some(ip(source)))).unwrap();
        assert_eq!(local().lines().count(), before.lines().count() + 1);
        assert_eq!(node.run(route::observe).unwrap(), BTreeMap::from([(vip, Some(ip(source)))]));
        for _ in 0..2 {
            node.run(|| route::remove(vip)).unwrap();
            assert_eq!(local(), before);
        }
    }
}

#[test]
fn a_source_that_is_not_the_nodes_is_refused_with_a_reason() {
    let lab = Lab::new();
    for (vip, source) in [("10.103.97.2", "172.20.0.1"), ("fd00::2", "fd99::1")] {
        let error = lab.node.run(|| route::set(ip(vip), Some(ip(source)))).unwrap_err();
        assert!(matches!(error, RouteError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(vip) && error.to_string().contains("hint"), "{error}");
    }
}

#[test]
fn an_ipv6_vip_without_ipv6_says_so_and_ipv4_goes_on() {
    let node = Netns::new("node");
    node.run(|| fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")).unwrap();
    let error = node.run(|| route::set(ip("fd00::2"), None)).unwrap_err();
    assert!(matches!(error, RouteError::Ipv6Disabled { .. }), "{error:?}");
    assert!(error.to_string().contains("disable_ipv6"), "{error}");
    node.run(|| route::set(ip("10.103.97.2"), None)).unwrap();
    assert_eq!(node.run(route::observe).unwrap(), BTreeMap::from([(ip("10.103.97.2"), None)]));
    node.run(|| route::remove(ip("fd00::2"))).unwrap();
}
