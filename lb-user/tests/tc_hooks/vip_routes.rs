//! The packet dataplane's routes beside those of the IPVS dataplane.

use std::collections::BTreeMap;

use lb_user::{
    dataplane::{ipvs::kernel::route as ipvs, tc::ROUTES},
    os::netlink::{routes, vip_routes::VipRoute},
};

use crate::fixture::{Lab, NODE, NODE6, ip};

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
