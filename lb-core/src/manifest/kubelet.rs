use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use crate::config::Config;

/// A drop-in for the kubelet's systemd unit: until the agent runs, connects to a virtual address fail at once.
///
/// An unreachable route does that, ip-route(8). It may stay: with `socket` the address is replaced before the kernel looks
/// for a route, with `ipvs` the agent's own route is in the table `local`, which goes first.
pub fn kubelet_dropin(config: &Config) -> String {
    let vips: BTreeSet<IpAddr> = config.services.iter().map(|service| service.vip.ip()).collect();
    let mut text = "\
# /etc/systemd/system/kubelet.service.d/10-lbctl.conf, for nodes on which lbctl is a static pod: after a reboot nothing maps
# the virtual address until the pod runs, and connects that hang would keep the kubelet from starting it. With this route
# they fail at once. Written by `lbctl manifest kubelet-dropin`.
[Service]
"
    .to_owned();
    for vip in vips {
        let (family, bits) = if vip.is_ipv4() { ("", 32) } else { ("-6 ", 128) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "ExecStartPre=-/sbin/ip {family}route replace unreachable {vip}/{bits}");
    }
    text
}
