//! Rules of the kernel's own, made by hand; nobody watches the masters.

use std::fs;

use anyhow::Context;
use lb_tests::Lab;
use lb_tests::lab::VIP;

use super::{Running, vip};

/// Rules that pick a master at random for each connection.
pub(super) const NFTABLES: &str = include_str!("nftables.nft");
/// For `ipvsadm --restore`: round robin, masquerading.
pub(super) const IPVSADM: &str = include_str!("ipvsadm.rules");

/// Whether the masters see the node's address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Masquerade {
    Yes,
    No,
}

/// Destination NAT of what the node itself sends, and of what it forwards.
pub(super) fn nftables(lab: &Lab, masquerade: Masquerade) -> anyhow::Result<Running> {
    let vip = vip()?;
    let masters = lab.masters().iter().enumerate();
    let map: Vec<String> =
        masters.map(|(index, master)| format!("{index} : {}", master.address().ip())).collect();
    let text = NFTABLES
        .replace("@VIP_ADDRESS@", &vip.ip().to_string())
        .replace("@VIP_PORT@", &vip.port().to_string())
        .replace("@COUNT@", &map.len().to_string())
        .replace("@MAP@", &map.join(", "));
    let rules = lab.dir().join("bench.nft");
    fs::write(&rules, text).with_context(|| format!("write {}", rules.display()))?;
    let mut running = Running::new(lab, vec![vip]);
    // A packet needs a route before its destination is changed.
    let (address, via) = (vip.ip().to_string(), lab.master(0).address().ip().to_string());
    running.apply(&["ip", "route", "add", &address, "via", &via], Some(&["ip", "route", "del", &address]))?;
    let delete = ["nft", "delete", "table", "ip", "bench"];
    running.apply(&["nft", "-f", &rules.to_string_lossy()], Some(&delete))?;
    if masquerade == Masquerade::Yes {
        let chain = "add chain ip bench postrouting { type nat hook postrouting priority srcnat; }";
        let rule = format!("add rule ip bench postrouting ct original ip daddr {} masquerade", vip.ip());
        running.apply(&["nft", &format!("{chain} ; {rule}")], None)?;
    }
    Ok(running)
}

/// IPVS as an operator would program it.
pub(super) fn ipvs(lab: &Lab) -> anyhow::Result<Running> {
    let vip = vip()?;
    let servers = lab.masters().iter().map(|master| format!("-a -t {VIP} -r {} -m -w 1", master.address()));
    let text = IPVSADM.replace("@VIP@", VIP).replace("@SERVERS@", &servers.collect::<Vec<_>>().join("\n"));
    let rules = lab.dir().join("ipvsadm.rules");
    fs::write(&rules, text).with_context(|| format!("write {}", rules.display()))?;
    let mut running = Running::new(lab, vec![vip]);
    let (address, source) = (vip.ip().to_string(), lab.node().host().v4().to_string());
    // IPVS meets only what is delivered here; the source must be one that the masters can answer.
    let route = ["local", &address, "dev", "lo", "src", &source];
    running.apply(
        &[&["ip", "route", "add"], &route[..]].concat(),
        Some(&[&["ip", "route", "del"], &route[..]].concat()),
    )?;
    let restore = format!("ipvsadm --restore < '{}'", rules.display());
    running.apply(&["sh", "-c", &restore], Some(&["ipvsadm", "--clear"]))?;
    Ok(running)
}
