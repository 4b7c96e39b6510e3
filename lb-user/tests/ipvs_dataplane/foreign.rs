//! Other programs that use IPVS, nftables and routes too.

use std::time::Instant;

use lb_core::model::Scope;
use lb_user::dataplane::Plane as _;

use crate::lab::{Lab, VIP, desired, master, service};

const OTHER: &str = "10.103.97.9:80";

#[test]
fn a_service_that_somebody_deletes_is_made_again_and_kube_proxys_setting_named() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let state = desired([service(VIP, &[(1, 1)], &[2], &[])]);
    lab.reconcile(&mut plane, &state).unwrap();
    assert_eq!(lab.node.run(|| plane.inspect()).unwrap().warnings, Vec::<String>::new());
    let before = lab.listed();
    lab.node.sh(&format!("ipvsadm -D -t {VIP}"));
    let started = Instant::now();
    assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 1);
    println!("repaired in {:?}", started.elapsed());
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(lab.listed()), sorted(before));
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1);
    let inspection = lab.node.run(|| plane.inspect()).unwrap();
    assert_eq!(inspection.ineffective, None);
    assert!(
        matches!(&inspection.warnings[..], [text] if text.contains("excludeCIDRs: [\"10.103.97.2/32\"]")),
        "{inspection:?}"
    );
    assert!(plane.resync().as_millis() <= 500);
}

#[test]
fn what_somebody_changes_in_our_service_is_put_right() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let state = desired([service(VIP, &[(1, 1)], &[2], &[])]);
    lab.reconcile(&mut plane, &state).unwrap();
    let mut before = lab.listed();
    before.sort();
    for change in [
        format!("ipvsadm -a -t {VIP} -r 192.168.77.99:6443 -m"),
        format!("ipvsadm -d -t {VIP} -r {}", master(1)),
        format!("ipvsadm -e -t {VIP} -r {} -m -w 9", master(1)),
        format!("ipvsadm -e -t {VIP} -r {} -g -w 1", master(1)),
        format!("ipvsadm -e -t {VIP} -r {} -m -w 1 -x 1", master(1)),
        format!("ipvsadm -E -t {VIP} -s rr"),
        format!("ipvsadm -E -t {VIP} -s wrr -p 300"),
        format!("ipvsadm -C"),
    ] {
        lab.node.sh(&change);
        assert_ne!(lab.reconcile(&mut plane, &state).unwrap(), 0, "{change}");
        let mut after = lab.listed();
        after.sort();
        assert_eq!(after, before, "{change}");
        assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0, "{change}");
    }
}

#[test]
fn what_surrounds_it_comes_back_after_somebody_flushed_it() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Node);
    let state = desired([service(VIP, &[(1, 1)], &[], &[])]);
    lab.reconcile(&mut plane, &state).unwrap();
    for change in [
        "nft flush ruleset",
        "ip route flush table local proto 0x6c",
        "echo 0 > /proc/sys/net/ipv4/vs/conntrack",
    ] {
        lab.node.sh(change);
        // What surrounds IPVS is read once a second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 1, "{change}");
        assert_eq!(lab.pod.connect(VIP).unwrap().1, 1, "{change}");
    }
    lab.node.sh("iptables -F; iptables -t nat -F");
    assert_eq!(lab.pod.connect(VIP).unwrap().1, 1);
}

#[test]
fn another_programs_service_at_our_vip_is_refused_and_untouched_while_others_go_on() {
    let lab = Lab::new();
    lab.node.sh(&format!("ipvsadm -A -t {VIP} -s rr; ipvsadm -a -t {VIP} -r 192.168.77.99:6443 -m"));
    let before = lab.listed();
    let mut plane = lab.open(Scope::Host);
    let state =
        desired([service(VIP, &[(1, 1)], &[], &[]), service("10.103.97.3:6443", &[(2, 1)], &[], &[])]);
    let error = lab.reconcile(&mut plane, &state).unwrap_err();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(text.contains(VIP) && text.contains("192.168.77.99:6443") && text.contains("hint"), "{text}");
    assert_eq!(lab.listed()[..2], before[..]);
    assert_eq!(lab.node.connect("10.103.97.3:6443").unwrap().1, 2);
    assert!(!lab.node.sh("ip route show table local").contains("local 10.103.97.2 "));
    let ineffective = lab.node.run(|| plane.inspect()).unwrap().ineffective.unwrap();
    assert!(ineffective.contains(VIP), "{ineffective}");
    lab.node.run(|| plane.remove()).unwrap();
    assert_eq!(lab.listed(), before);

    lab.node.sh(&format!("ipvsadm -D -t {VIP}"));
    lab.reconcile(&mut plane, &state).unwrap();
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1, "once it is gone, the VIP is served");
}

#[test]
fn another_programs_services_elsewhere_are_never_touched() {
    let lab = Lab::new();
    let same_address = "10.103.97.2:80";
    for vip in [OTHER, same_address] {
        lab.node
            .sh(&format!("ipvsadm -A -t {vip} -s sh -p 60; ipvsadm -a -t {vip} -r {} -g -w 3", master(3)));
    }
    lab.node.sh("ipvsadm -A -u 10.103.97.2:6443 -s rr; ipvsadm -A -f 7 -s rr");
    let foreign = lab.node.sh("ipvsadm -Sn");
    let mut plane = lab.open(Scope::Host);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 1)], &[], &[])])).unwrap();
    let all = lab.node.sh("ipvsadm -Sn");
    assert!(foreign.lines().all(|line| all.lines().any(|other| other == line)), "{all}");
    lab.reconcile(&mut plane, &desired([])).unwrap();
    assert_eq!(lab.node.sh("ipvsadm -Sn"), foreign);
    lab.reconcile(&mut plane, &desired([service(VIP, &[(1, 1)], &[], &[])])).unwrap();
    lab.node.run(|| plane.remove()).unwrap();
    assert_eq!(lab.node.sh("ipvsadm -Sn"), foreign);
}

#[test]
fn what_lvscare_left_at_the_vip_is_taken_over() {
    let lab = Lab::new();
    lab.node.sh(&format!(
        "ip link add lvscare type dummy; ip addr add 10.103.97.2/32 dev lvscare; ip link set lvscare up
         ipvsadm -A -t {VIP} -s rr; ipvsadm -a -t {VIP} -r {} -m; ipvsadm -a -t {VIP} -r {} -m",
        master(1),
        master(2)
    ));
    let mut plane = lab.open(Scope::Host);
    let state = desired([service(VIP, &[(1, 1)], &[2], &[])]);
    lab.reconcile(&mut plane, &state).unwrap();
    assert!(lab.listed().contains(&format!("TCP {VIP} wrr")), "{:?}", lab.listed());
    assert!(!lab.node.sh("ip -o link").contains("lvscare"));
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1);
    assert_eq!(lab.last_client(1).unwrap().to_string(), crate::lab::NODE);
    assert_eq!(lab.reconcile(&mut plane, &state).unwrap(), 0);
}
