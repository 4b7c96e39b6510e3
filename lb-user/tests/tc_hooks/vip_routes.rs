//! The packet dataplane's routes beside those of the IPVS dataplane.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use lb_user::{
    dataplane::{
        ipvs::kernel::route as ipvs,
        tc::{Owner, Program, ROUTES},
    },
    os::{
        bpf::{self, instruction},
        netlink::{routes, vip_routes::VipRoute},
    },
};

use crate::{
    fixture::{Lab, NODE, NODE6, Netns, ip},
    trial::{Bench, Pins, mechanisms, outward},
};

const VIPS: [(&str, &str, &str); 2] = [("10.103.97.2", NODE, "-4"), ("fd00::2", NODE6, "-6")];

#[test]
fn a_route_says_source_and_size_and_is_replaced_in_place() {
    let lab = Lab::new();
    for (vip, source, _) in VIPS {
        let (vip, source) = (ip(vip), ip(source));
        for mtu in [1400, 1300] {
            let route = VipRoute { source: Some(source), mtu: Some(mtu) };
            lab.node.run(|| ROUTES.set(vip, route)).unwrap();
            assert_eq!(lab.node.run(|| ROUTES.observe()).unwrap(), BTreeMap::from([(vip, route)]));
            let got = lab.node.sh(&format!("ip route get {vip}"));
            assert!(got.contains("dev lo") && got.contains(&format!("src {source}")), "{got}");
            assert!(got.contains(&format!("mtu {mtu}")), "{got}");
            assert_eq!(lab.node.run(|| routes::is_local(vip)).unwrap(), vip.is_ipv6());
        }
        for _ in 0..2 {
            lab.node.run(|| ROUTES.remove(vip)).unwrap();
            assert_eq!(lab.node.run(|| ROUTES.observe()).unwrap(), BTreeMap::new());
        }
    }
}

#[test]
fn beside_the_route_of_ipvs_the_packet_dataplanes_is_taken_in_whatever_order_they_come() {
    let lab = Lab::new();
    let node = &lab.node;
    node.sh("ip addr add 192.168.77.9/24 dev eth0; ip addr add fd77::9/64 dev eth0 nodad");
    for (vip, source, family) in VIPS {
        let (vip, other) = (ip(vip), ip(if family == "-4" { "192.168.77.9" } else { "fd77::9" }));
        let own = VipRoute { source: Some(ip(source)), mtu: Some(1400) };
        let get = || node.sh(&format!("ip route get {vip}"));
        for ipvs_first in [true, false] {
            let theirs = || node.run(|| ipvs::set(vip, Some(other))).unwrap();
            if ipvs_first {
                theirs();
            }
            node.run(|| ROUTES.set(vip, own)).unwrap();
            if !ipvs_first {
                theirs();
            }
            assert_eq!(node.run(ipvs::observe).unwrap(), BTreeMap::from([(vip, Some(other))]));
            assert_eq!(node.run(|| ROUTES.observe()).unwrap(), BTreeMap::from([(vip, own)]));
            assert!(get().contains(&format!("src {source}")), "{}", get());
            node.run(|| ROUTES.remove(vip)).unwrap();
            assert!(get().contains("local") && get().contains(&format!("src {other}")), "{}", get());
            node.run(|| ROUTES.set(vip, own)).unwrap();
            node.run(|| ipvs::remove(vip)).unwrap();
            assert!(get().contains(&format!("src {source}")), "{}", get());
            node.run(|| ROUTES.remove(vip)).unwrap();
        }
    }
}

/// At what leaves by the loopback interface: a UDP packet to the VIP comes back from it, as if a backend had answered.
fn echo(vip: IpAddr) -> Program {
    // Where the addresses and the ports are in a frame, and the words of an address.
    let (source, target, ports, words) = match vip {
        IpAddr::V4(_) => (26, 30, 34, 1),
        IpAddr::V6(_) => (22, 38, 54, 4),
    };
    let octets = match vip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut program = vec![
        instruction(0x61, 2, 1, 76, 0), // r2 = data
        instruction(0x61, 3, 1, 80, 0), // r3 = data_end
        instruction(0xbf, 4, 2, 0, 0),  // r4 = r2
        instruction(0x07, 4, 0, 0, i32::from(ports) + 8),
    ];
    // To be given the way to the end: if r4 > r3; and if a word is not the VIP's.
    let mut checks = vec![program.len()];
    program.push(instruction(0x2d, 4, 3, 0, 0));
    for (n, word) in octets.chunks(4).enumerate() {
        let word = i32::from_ne_bytes(word.try_into().unwrap());
        program.push(instruction(0x61, 5, 2, target + 4 * n as i16, 0)); // r5 = the word
        program.push(instruction(0xb4, 0, 0, 0, word)); // w0 = the VIP's
        checks.push(program.len());
        program.push(instruction(0x5d, 5, 0, 0, 0)); // if r5 != r0
    }
    let mut swap = |load: u8, store: u8, a: i16, b: i16| {
        program.push(instruction(load, 5, 2, a, 0));
        program.push(instruction(load, 0, 2, b, 0));
        program.push(instruction(store, 2, 0, a, 0));
        program.push(instruction(store, 2, 5, b, 0));
    };
    (0..words).for_each(|n| swap(0x61, 0x63, source + 4 * n, target + 4 * n));
    swap(0x69, 0x6b, ports, ports + 2);
    program.extend([
        instruction(0xb7, 1, 0, 0, 1),  // r1 = lo
        instruction(0xb7, 2, 0, 0, 1),  // r2 = BPF_F_INGRESS
        instruction(0x85, 0, 0, 0, 23), // r0 = bpf_redirect(r1, r2)
        instruction(0x95, 0, 0, 0, 0),
    ]);
    for at in checks {
        let way = i16::try_from(program.len() - at - 1).unwrap();
        let (to, from) = if at == 4 { (4, 3) } else { (5, 0) };
        program[at] = instruction(if at == 4 { 0x2d } else { 0x5d }, to, from, way, 0);
    }
    program.extend([instruction(0xb7, 0, 0, 0, -1), instruction(0x95, 0, 0, 0, 0)]);
    Program::new(bpf::program(bpf::Kind::Classifier, "echo", &program).unwrap()).unwrap()
}

/// Whether what the node sends to the VIP is answered.
fn is_answered(node: &Netns, vip: IpAddr) -> bool {
    node.run(|| {
        let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        let sent = socket.connect(SocketAddr::new(vip, 6443)).and_then(|()| socket.send(b"x"));
        sent.is_ok() && socket.recv(&mut [0]).is_ok()
    })
}

/// What a program brings back by the loopback interface must be taken there, although the VIP is where it comes from.
#[test]
fn answers_from_the_vip_are_taken_at_the_loopback_interface_with_a_strict_rp_filter() {
    let (lab, pins) = (Lab::new(), Pins::new());
    let node = &lab.node;
    node.sh("for i in all default lo eth0; do echo 1 > /proc/sys/net/ipv4/conf/$i/rp_filter; done");
    let bench = Bench { node, pins: &pins, owner: Owner::Packet, mechanism: mechanisms(&pins)[0] };
    let hooks = bench.hooks();
    for (vip, source, _) in VIPS {
        let (vip, source) = (ip(vip), ip(source));
        let echo = echo(vip);
        let wanted = BTreeMap::from([(outward(routes::LOOPBACK), &echo)]);
        assert!(node.run(|| hooks.reconcile(&wanted, Duration::MAX)).unwrap().failures.is_empty());
        assert!(!is_answered(node, vip), "without a route");
        let own = VipRoute { source: Some(source), mtu: Some(1400) };
        node.run(|| ROUTES.set(vip, own)).unwrap();
        assert!(is_answered(node, vip), "{vip}");
        node.run(|| ipvs::set(vip, Some(source))).unwrap();
        assert!(is_answered(node, vip), "{vip} beside the route of the IPVS dataplane");
        node.run(|| ROUTES.remove(vip)).unwrap();
        assert_eq!(is_answered(node, vip), vip.is_ipv6(), "an IPv4 packet may not come from a local address");
        node.run(|| ipvs::remove(vip)).unwrap();
    }
}

/// Where nothing takes them before the routing tables are asked.
#[test]
fn packets_of_others_are_delivered_as_ipvs_needs_it_only_without_the_packet_dataplanes_ipv4_route() {
    let lab = Lab::new();
    let _accepted = lab.node.accept("[::]:6443");
    for (vip, source, _) in VIPS {
        let (vip, source) = (ip(vip), ip(source));
        lab.node.run(|| ipvs::set(vip, Some(source))).unwrap();
        let reaches = || lab.pod.connect(SocketAddr::new(vip, 6443)).is_ok();
        assert!(reaches());
        lab.node.run(|| ROUTES.set(vip, VipRoute { source: Some(source), mtu: None })).unwrap();
        assert_eq!(reaches(), vip.is_ipv6(), "{vip}");
        lab.node.run(|| ROUTES.remove(vip)).unwrap();
        assert!(reaches());
    }
}
