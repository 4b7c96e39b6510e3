//! Kernels and hosts that lack something.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use lb_core::model::{Policy, Scope};
use lb_user::dataplane::{DataplaneError, Plane as _, ipvs::IpvsDataplane};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::lab::{Lab, VIP, VIP6, all_of, desired, service, sh};

/// The kernel loads no module by itself while this lives.
struct NoLoading(String);

impl NoLoading {
    fn new() -> Self {
        let before = fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
        fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
        Self(before.trim().to_owned())
    }
}

impl Drop for NoLoading {
    fn drop(&mut self) {
        fs::write("/proc/sys/kernel/modprobe", &self.0).unwrap();
    }
}

/// Namespaces that were just deleted use it a moment longer.
fn unload(modules: &str) {
    let started = Instant::now();
    loop {
        sh(&format!("for m in {modules}; do rmmod $m 2>/dev/null || true; done"));
        let loaded = fs::read_to_string("/proc/modules").unwrap();
        let is_loaded = |m: &&str| loaded.lines().any(|line| line.split(' ').next() == Some(*m));
        let left: Vec<&str> = modules.split(' ').filter(is_loaded).collect();
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{left:?} stay loaded");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_scheduler_that_the_kernel_lacks_is_named_with_a_policy_that_works() {
    let lab = Lab::new();
    let mut plane = lab.open(Scope::Host);
    let mut sticky = service(VIP, &[(1, 1)], &[], &[]);
    sticky.policy = Policy::Sticky;
    let state = desired([sticky, service("10.103.97.3:6443", &[(2, 1)], &[], &[])]);
    sh("modprobe ip_vs_wrr");
    unload("ip_vs_mh");
    let loading = NoLoading::new();
    let error = lab.reconcile(&mut plane, &state).unwrap_err();
    assert!(matches!(error, DataplaneError::Missing { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("modprobe ip_vs_mh") && text.contains("set policy to random"), "{text}");
    assert_eq!(lab.node.connect("10.103.97.3:6443").unwrap().1, 2, "the other service goes on");
    drop(loading);
    lab.reconcile(&mut plane, &state).unwrap();
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1);
}

#[test]
fn a_kernel_without_ipvs_says_which_module_to_load() {
    let lab = Lab::new();
    let loading = NoLoading::new();
    unload("ip_vs_ftp ip_vs_mh ip_vs_wrr ip_vs_wlc ip_vs_rr ip_vs_sh ip_vs");
    assert_eq!(lab.node.run(|| IpvsDataplane::peek(lab.state.path())).unwrap(), None);
    assert_eq!(lab.node.run(IpvsDataplane::peek_counters).unwrap().len(), 0);
    assert_eq!(lab.node.run(|| IpvsDataplane::cleanup(lab.state.path())).unwrap(), Vec::<String>::new());
    let Err(error) = lab.node.run(|| IpvsDataplane::open(lab.options(Scope::Host))) else {
        panic!("opened without IPVS")
    };
    assert!(matches!(error, DataplaneError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("modprobe ip_vs") && error.to_string().contains("auto"), "{error}");
    drop(loading);
    assert_eq!(lab.node.run(|| IpvsDataplane::peek(lab.state.path())).unwrap(), None);
    assert!(!fs::read_to_string("/proc/modules").unwrap().contains("ip_vs"), "looking loads nothing");
    // Linux 5.11 and later know by themselves which module IPVS is.
    sh("grep -q '^5\\.10' /proc/sys/kernel/osrelease && modprobe ip_vs || true");
    lab.open(Scope::Host);
}

#[test]
fn an_ipv6_vip_without_ipv6_names_the_setting_and_ipv4_goes_on() {
    let lab = Lab::new();
    lab.node.sh("for i in all lo lan; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done");
    let mut plane = lab.open(Scope::Host);
    let state = desired([service(VIP6, &[(1, 1)], &[], &[]), service(VIP, &[(1, 1)], &[], &[])]);
    let error = lab.reconcile(&mut plane, &state).unwrap_err();
    assert!(matches!(error, DataplaneError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("disable_ipv6"), "{error}");
    assert_eq!(lab.node.connect(VIP).unwrap().1, 1);
    lab.node.run(|| plane.remove()).unwrap();
    assert_eq!(lab.listed(), Vec::<String>::new());
}

/// Runs something in the node's namespace with these capabilities only.
fn with<T: Send>(lab: &Lab, held: CapabilitySet, act: impl FnOnce() -> T + Send) -> T {
    lab.node.run(|| {
        let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).unwrap();
        act()
    })
}

#[test]
fn without_cap_net_admin_the_capability_is_named() {
    let lab = Lab::new();
    lab.open(Scope::Host);
    let Err(error) = with(&lab, CapabilitySet::empty(), || IpvsDataplane::open(lab.options(Scope::Host)))
    else {
        panic!("opened without the capability")
    };
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}

#[test]
fn cap_net_admin_is_enough() {
    let lab = Lab::new();
    let state = desired([VIP, VIP6].map(|vip| service(vip, &[(1, 1)], &[2], &[])));
    with(&lab, CapabilitySet::NET_ADMIN, || {
        let mut plane = IpvsDataplane::open(lab.options(Scope::Host)).unwrap();
        plane.reconcile(&state).unwrap();
        assert_eq!(plane.reconcile(&state).unwrap(), 0);
    });
    let stream = lab.node.connect(VIP).unwrap();
    with(&lab, CapabilitySet::NET_ADMIN, || {
        let mut plane = IpvsDataplane::open(lab.options(Scope::Host)).unwrap();
        assert_eq!(plane.inspect().unwrap().ineffective, None);
        plane.reconcile(&desired([service(VIP, &[(2, 1)], &[], &[1])])).unwrap();
        assert_eq!(plane.evict(&[all_of(crate::lab::master(1))]).unwrap().ended, 1);
        plane.remove().unwrap();
    });
    drop(stream);
    assert_eq!(lab.listed(), Vec::<String>::new());
}
