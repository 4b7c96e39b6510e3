//! What others do to the kernel's state, and what is theirs.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lb_tests::Lab;
use lb_tests::command::run;
use lb_tests::lab::VIP;
use lb_tests::wait::eventually;

use super::kernel::{Services, expect_beside, expect_kernel, ipvs};
use super::setup::{HELD, Setup};
use crate::common::SOON;
use crate::common::agent::{running, status};
use crate::common::load::{Load, assert_untouched, figure, requests, syn};
use crate::common::quiet::{alone, beside_others};

/// The agent looks at the state of cgroup hooks every five seconds.
const RESYNC: Duration = Duration::from_secs(6);
/// By the issue.
const REPAIR: Duration = Duration::from_secs(1);

/// A pinned link that somebody removes is back.
pub fn removed_link(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(1) else { return };
    let link = pinned(&lab, "links", "connect4");
    fs::remove_file(&link).unwrap();
    await_repair(&lab, "a removed link", RESYNC, || link.exists());
}

/// A service that somebody deletes from the kernel's map is back.
pub fn deleted_map_entry(setup: Setup) {
    let _turn = beside_others();
    let Some((lab, _agent)) = setup.running(1) else { return };
    forget_first_key(&pinned(&lab, "maps", "vips"));
    await_repair(&lab, "a deleted map entry", RESYNC, || true);
}

/// Waits until connects through the VIP work and what was taken is back.
fn await_repair(lab: &Lab, what: &str, within: Duration, is_back: impl Fn() -> bool) {
    let began = Instant::now();
    eventually(within, what, || {
        let (result, _) = syn(lab.node(), VIP);
        let back = is_back();
        if result == "connected" && back { Ok(()) } else { Err(format!("{result}, is back: {back}")) }
    })
    .unwrap();
    figure(&format!("{what}: repaired after {:.2} s", began.elapsed().as_secs_f64()));
}

fn pinned(lab: &Lab, kind: &str, name: &str) -> PathBuf {
    lab.pins().join("v1").join(kind).join(name)
}

/// Deletes the first entry of a pinned map.
fn forget_first_key(map: &Path) {
    let map = map.to_str().unwrap();
    let first = run(&["bpftool", "-j", "map", "getnext", "pinned", map]).unwrap();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let bytes = first["next_key"].as_array().unwrap().iter().filter_map(|byte| byte.as_str());
    let words: Vec<&str> =
        ["bpftool", "map", "delete", "pinned", map, "key"].into_iter().chain(bytes).collect();
    run(&words).unwrap();
}

fn ipvsadm(lab: &Lab, words: &[&str]) {
    lab.node().run(&[&["ipvsadm"], words].concat()).unwrap().success().unwrap();
}

/// kube-proxy in IPVS mode deletes services that it does not know: ours is back within a second with all that belongs to
/// it, and status says who may have done it. So are a destination, the route and the nftables table.
pub fn deleted_service(setup: Setup) {
    let _turn = alone();
    let Some((lab, _agent)) = setup.running(2) else { return };
    let masters = [0, 1].map(|index| (lab.master(index), 1));
    expect_kernel(&lab, &masters);
    let back = service_is_back(&lab);
    figure(&format!("the deleted service is back in IPVS after {} ms", back.as_millis()));
    assert!(back < REPAIR, "the deleted service is back after {back:?}");
    let (ip, _) = VIP.split_once(':').unwrap();
    let m1 = lab.master(0).address().to_string();
    let deletions: [(&str, &[&str]); 4] = [
        ("a destination", &["ipvsadm", "-d", "-t", VIP, "-r", &m1]),
        ("a weight", &["ipvsadm", "-e", "-t", VIP, "-r", &m1, "-m", "-w", "7"]),
        ("the route", &["ip", "route", "del", "local", ip, "table", "local"]),
        ("the nftables table", &["nft", "flush", "ruleset"]),
    ];
    for (what, words) in deletions {
        lab.node().run(words).unwrap().success().unwrap();
        await_repair(&lab, what, REPAIR, || true);
        expect_kernel(&lab, &masters);
    }
    let is_back = || lab.node().run(&["nft", "list", "table", "ip", "lbctl"]).unwrap().code() == 0;
    await_repair(&lab, "the nftables table", REPAIR, is_back);
    let warnings = eventually(SOON, "status warns", || {
        let warnings = status(&lab)["warnings"].to_string();
        if warnings.contains("excludeCIDRs") { Ok(warnings) } else { Err(warnings) }
    })
    .unwrap();
    assert!(warnings.contains(&format!("{ip}/32")), "{warnings}");
}

/// Deletes the service, and tells when the kernel has it again, on a clock of 10 ms, from the start of ipvsadm(8). All in
/// one shell, so that it is the agent's time that is measured and not that of more programs that start.
fn service_is_back(lab: &Lab) -> Duration {
    let vip: SocketAddrV4 = VIP.parse().unwrap();
    // As /proc/net/ip_vs has it, net/netfilter/ipvs/ip_vs_ctl.c.
    let hex = format!("{:08X}:{:04X}", u32::from(*vip.ip()), vip.port());
    let script = format!(
        "read begin rest </proc/uptime
        ipvsadm -D -t {VIP}
        while :; do
            read now rest </proc/uptime
            while read protocol address rest; do
                test \"$address\" = {hex} && echo $begin $now && exit
            done </proc/net/ip_vs
            test ${{now%.*}} -gt $((${{begin%.*}} + 30)) && exit 1
        done"
    );
    let text = lab.node().run(&["sh", "-c", &script]).and_then(|done| done.success()).unwrap();
    let seconds: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Duration::from_secs_f64(seconds[1] - seconds[0])
}

/// An IPVS service of somebody else is there before, during and after, and works.
pub fn foreign_service(setup: Setup) {
    let _turn = beside_others();
    let Some(lab) = setup.lab(2) else { return };
    let (m1, m2) = (lab.master(0), lab.master(1));
    let (ip, vip) = ("10.103.97.9", "10.103.97.9:6443");
    // Not as an address: it would be the source too, which no master could answer.
    let route = format!("route add local {ip} dev lo table local src {}", lab.node().host().v4());
    lab.node().host().netns().ip(&[route]).unwrap();
    ipvsadm(&lab, &["-A", "-t", vip, "-s", "rr"]);
    ipvsadm(&lab, &["-a", "-t", vip, "-r", &m1.address().to_string(), "-m", "-w", "5"]);
    ipvsadm(&lab, &["-a", "-t", vip, "-r", "192.168.77.99:6443", "-m", "-w", "0"]);
    let foreign: Services = ipvs(&lab).unwrap();
    assert_eq!(foreign.len(), 1, "{foreign:?}");
    let works = || assert_eq!(requests(lab.node(), vip, "v4", 4).served("m1"), 4);
    works();

    let agent = running(&lab);
    expect_beside(&lab, &[(m1, 1), (m2, 1)], &foreign);
    works();
    let load = Load::start(&lab, "v4", 1, HELD);
    load.more(10);
    assert_untouched(&load.stop());
    // A destination of somebody else in our own service goes.
    ipvsadm(&lab, &["-a", "-t", VIP, "-r", "192.168.77.99:6443", "-m", "-w", "1"]);
    expect_beside(&lab, &[(m1, 1), (m2, 1)], &foreign);
    drop(agent);
    lab.lbctl(&["cleanup"]).unwrap().success().unwrap();
    assert_eq!(ipvs(&lab).unwrap(), foreign);
    works();
}
