//! A pod behind its node, as most network plugins place it: on a bridge of the node's, which forwards for it. The masters
//! know nothing of the pods' network, so what reaches them must bear the node's address.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::network::{Host, INTERFACE};
use crate::command::run;
use crate::name::LabName;
use crate::netns::Netns;

/// The bridge in the node, named as by the CNI plugin `bridge`.
const BRIDGE: &str = "cni0";
const PORT: &str = "veth-pod";
const GATEWAY_V4: &str = "10.244.77.1";
const GATEWAY_V6: &str = "fd00:244:77::1";
const POD_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 77, 2);
const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x244, 0x77, 0, 0, 0, 0, 2);

/// Makes the pod and lets `node` forward for it.
pub(super) fn behind(node: &Host, name: &LabName) -> anyhow::Result<Host> {
    let pod = Host::new("pod", Netns::new(name.role("pod"))?, POD_V4, POD_V6);
    let (outside, inside) = (node.netns(), pod.netns());
    outside.ip(&["link", "add", "name", BRIDGE, "type", "bridge"])?;
    outside.ip(&["link", "set", "dev", BRIDGE, "up"])?;
    let ends = ["type", "veth", "peer", "name", INTERFACE, "netns", inside.name()];
    outside.ip(&[&["link", "add", "name", PORT], &ends[..]].concat())?;
    outside.ip(&["link", "set", "dev", PORT, "master", BRIDGE, "up"])?;
    for (gateway, length) in [(GATEWAY_V4, 24), (GATEWAY_V6, 64)] {
        let address = format!("{gateway}/{length}");
        outside.ip(&[&["addr", "add", &address, "dev", BRIDGE][..], nodad(gateway)].concat())?;
    }
    inside.ip(&["addr", "add", &format!("{POD_V4}/24"), "dev", INTERFACE])?;
    inside.ip(&["addr", "add", &format!("{POD_V6}/64"), "dev", INTERFACE, "nodad"])?;
    inside.ip(&["link", "set", "dev", INTERFACE, "up"])?;
    for gateway in [GATEWAY_V4, GATEWAY_V6] {
        inside.ip(&["route", "add", "default", "via", gateway])?;
    }
    forward(outside)?;
    Ok(pod)
}

/// Duplicate address detection would keep the address from being used for a second; IPv4 has none.
fn nodad(address: &str) -> &'static [&'static str] {
    if address.contains(':') { &["nodad"] } else { &[] }
}

fn forward(node: &Netns) -> anyhow::Result<()> {
    let net = format!("--net={}", node.path().display());
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    run(&["nsenter", &net, "--", "sh", "-c", script])?;
    Ok(())
}
