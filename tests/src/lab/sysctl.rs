//! Settings of a network namespace.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::netns::Netns;
use crate::process::Place;

/// A name below /proc/sys/net, and its value.
pub(super) type Setting<'a> = (&'a str, u32);

/// A machine that forwards.
pub(super) const FORWARDS: [Setting<'static>; 2] = [("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1)];

/// Packets are taken only from the interface by which their source is reached: `conf/*/rp_filter` of ip-sysctl.rst.
pub(super) const STRICT: [Setting<'static>; 3] =
    [("ipv4/conf/all/rp_filter", 1), ("ipv4/conf/default/rp_filter", 1), ("ipv4/conf/eth0/rp_filter", 1)];

/// nf_conntrack takes packets for valid though it has not seen those before: nf_conntrack-sysctl.rst.
pub(super) const LIBERAL: [Setting<'static>; 1] = [("netfilter/nf_conntrack_tcp_be_liberal", 1)];

/// Writes them, in one go.
pub(super) fn set(netns: &Netns, settings: &[Setting<'_>]) -> anyhow::Result<()> {
    let line = |(name, value): &Setting<'_>| format!("echo {value} > /proc/sys/net/{name}");
    let script = settings.iter().map(line).collect::<Vec<_>>().join(" && ");
    let place = Place { netns: netns.path().to_owned(), cgroup: None };
    let mut shell = place.command(Path::new("sh"), &["-c".into(), script.clone().into()])?;
    let status = shell.status().context("start sh")?;
    ensure!(status.success(), "set {script} in {}: {status}", netns.name());
    Ok(())
}
