use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lb_user::os::netlink::{
    changes,
    interfaces::{self, Framing},
    routes::{self, Routes, Way},
};
use tokio::{
    sync::mpsc::{self, Receiver},
    time::{Instant, timeout},
};

use crate::fixture::{Lab, MASTER, MASTER6, NODE, NODE6, Netns, ip, sh};

#[test]
fn interfaces_are_listed_with_what_they_are() {
    let node = Netns::new("node");
    node.sh("ip link add br0 type bridge
             ip link add pod0 address 02:00:00:00:00:07 type veth peer name pod1
             ip link property add dev pod0 altname the-first-pod
             ip link set pod0 up mtu 1450 master br0");
    let has_tun = Path::new("/dev/net/tun").exists();
    if has_tun {
        node.sh("ip tuntap add tun0 mode tun; ip tuntap add tap0 mode tap");
    } else {
        println!("SKIPPED tun and tap: this machine has none");
    }
    let all = node.run(interfaces::list).unwrap();
    assert_eq!(all.left_out, 0);
    let of = |name: &str| all.found.iter().find(|interface| interface.name == name).unwrap();
    let (lo, bridge, pod) = (of("lo"), of("br0"), of("pod0"));
    assert!(lo.loopback && lo.up && lo.index == routes::LOOPBACK && lo.mtu == 65536);
    assert_eq!((bridge.kind.as_deref(), bridge.up), (Some("bridge"), false));
    assert_eq!(
        (pod.kind.as_deref(), pod.up, pod.mtu, pod.master),
        (Some("veth"), true, 1450, Some(bridge.index))
    );
    assert_eq!(pod.mac, Some([2, 0, 0, 0, 0, 7]));
    assert_eq!(pod.other_names, ["the-first-pod"]);
    if has_tun {
        assert_eq!((of("tun0").framing, of("tun0").mac), (Framing::Ip, None));
        assert_eq!(of("tap0").framing, Framing::Ethernet);
    }
    for ethernet in [lo, bridge, pod] {
        assert_eq!(ethernet.framing, Framing::Ethernet, "{}", ethernet.name);
    }
    assert_eq!(node.run(|| interfaces::one(pod.index)).unwrap().as_ref(), Some(pod));
    assert_eq!(node.run(|| interfaces::one(999_999)).unwrap(), None);
}

#[test]
fn the_way_to_a_backend_is_what_the_kernel_would_take() {
    let lab = Lab::new();
    let way = |address| lab.node.run(|| Routes::open()?.way(ip(address))).unwrap();
    let uplink =
        lab.node.run(interfaces::list).unwrap().found.iter().find(|i| i.name == "eth0").unwrap().index;
    for (master, node) in [(MASTER, NODE), (MASTER6, NODE6)] {
        let source = ip(node);
        let there = Way { source, interface: uplink, local: false, on_link: true, mtu: None };
        assert_eq!(way(master), Some(there));
        let here = Way { interface: routes::LOOPBACK, local: true, on_link: false, ..there };
        assert_eq!(way(node), Some(here));
        lab.node.sh(&format!("ip route add {master} dev eth0 mtu 1280"));
        assert_eq!(way(master), Some(Way { mtu: Some(1280), ..there }));
    }
    lab.node.sh("ip route add 172.20.0.0/16 via 192.168.77.3; ip route add fd99::/64 via fd77::3
                 ip route add 172.20.0.3 via inet6 fd77::3
                 ip route add 172.20.0.4 nexthop via 192.168.77.3 nexthop via 192.168.77.4
                 ip route add blackhole 172.20.0.2; ip route add unreachable fd99::2");
    for (behind, node) in
        [("172.20.0.1", NODE), ("172.20.0.3", NODE), ("172.20.0.4", NODE), ("fd99::1", NODE6)]
    {
        let expected = Way { source: ip(node), interface: uplink, local: false, on_link: false, mtu: None };
        assert_eq!(way(behind), Some(expected), "behind a router");
    }
    for nowhere in ["172.20.0.2", "fd99::2", "172.21.0.1", "224.0.0.1", "192.168.77.255"] {
        assert_eq!(way(nowhere), None, "{nowhere}");
    }
    lab.node
        .sh("ip rule add to 172.20.0.1 lookup 77; ip route add 172.20.0.1 dev br0 src 10.244.77.1 table 77");
    assert_eq!(way("172.20.0.1").map(|way| way.source), Some(ip("10.244.77.1")), "by a rule");
}

#[test]
fn whether_packets_from_a_vip_are_taken_at_an_interface_is_what_rp_filter_says() {
    const VIP: &str = "10.103.97.2";
    let lab = Lab::new();
    let uplink =
        lab.node.run(interfaces::list).unwrap().found.iter().find(|i| i.name == "eth0").unwrap().index;
    let takes = |from, to| lab.node.run(|| Routes::open()?.takes(uplink, ip(from), ip(to))).unwrap();
    lab.node.sh(&format!(
        "ip route add {VIP} dev lo scope link table local; ip -6 route add local fd99::1 dev lo"
    ));
    for (all, own, expected) in
        [(0, 0, true), (0, 2, true), (2, 1, true), (0, 1, false), (1, 0, false), (0, 0, true)]
    {
        for (name, value) in [("all", all), ("eth0", own)] {
            lab.node.sh(&format!("echo {value} > /proc/sys/net/ipv4/conf/{name}/rp_filter"));
        }
        assert_eq!(takes(VIP, NODE), expected, "all {all}, eth0 {own}");
        assert!(takes("fd99::1", NODE6), "IPv6 has no such setting");
    }
    assert!(!takes(NODE, NODE), "a martian");
    assert!(!takes(VIP, MASTER), "for somebody else");
    lab.node.sh("ip addr flush dev eth0; echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter; ip addr add 192.0.2.1/32 dev lo");
    assert!(!takes(VIP, "192.0.2.1"), "loose, by an interface without an address");
}

/// How many changes are told until all is quiet.
async fn told(rx: &mut Receiver<()>) -> usize {
    let mut told = 0;
    while timeout(Duration::from_millis(400), rx.recv()).await.is_ok_and(|told| told.is_some()) {
        told += 1;
    }
    told
}

#[test]
fn changes_of_the_network_are_told_at_once_and_together() {
    let lab = Lab::new();
    lab.node.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (tx, mut rx) = mpsc::channel(1);
            let follower = tokio::spawn(changes::follow(tx));
            assert_eq!(told(&mut rx).await, 1, "at the start");
            for change in [
                "ip link add pod9 type veth peer name pod9p",
                "ip link del pod9",
                "ip route add 172.20.0.1 via 192.168.77.3",
                "ip -6 route add fd99::1 via fd77::3",
                "ip addr add 192.168.77.9/24 dev eth0",
                "ip rule add to 172.20.0.1 lookup 77",
                "tc qdisc add dev eth0 clsact",
                "echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter",
            ] {
                sh(change);
                let began = Instant::now();
                rx.recv().await.unwrap();
                assert!(began.elapsed() < Duration::from_secs(1), "{change}: {:?}", began.elapsed());
                told(&mut rx).await;
            }
            drop(rx);
            assert!(matches!(follower.await.unwrap(), Err(changes::ChangesError::Closed)));
        });
    });
}

#[test]
fn a_storm_of_changes_is_told_twenty_times_a_second() {
    let lab = Lab::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let batch: String = (0..3000)
                .map(|n| format!("route add 172.21.{}.{} via {MASTER}\n", n / 250, n % 250))
                .collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), batch).unwrap();
            thread::sleep(Duration::from_millis(200));
            lab.node.sh(&format!("ip -batch {}", file.path().display()));
            done.store(true, Ordering::Relaxed);
        });
        lab.node.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (tx, mut rx) = mpsc::channel(1);
                tokio::spawn(changes::follow(tx));
                let (began, mut told) = (Instant::now(), 0);
                while !done.load(Ordering::Relaxed) {
                    told += usize::from(timeout(Duration::from_millis(50), rx.recv()).await.is_ok());
                }
                let most = began.elapsed().as_millis() / 50 + 2;
                assert!(told >= 2 && told as u128 <= most, "told {told} times, at most {most}");
            });
        });
    });
}
