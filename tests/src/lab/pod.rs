//! A pod behind its node, as most network plugins place it: on a bridge of the node's, which forwards for it. The masters
//! know nothing of the pods' network, so what reaches them must bear the node's address.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::network::{Host, INTERFACE};
use super::sysctl::{FORWARDS, set};
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
    outside.ip(&[
        format!("link add name {BRIDGE} type bridge"),
        format!("link set dev {BRIDGE} up"),
        format!("link add name {PORT} type veth peer name {INTERFACE} netns {}", inside.name()),
        format!("link set dev {PORT} master {BRIDGE}"),
        format!("link set dev {PORT} up"),
        format!("addr add {GATEWAY_V4}/24 dev {BRIDGE}"),
        // Without duplicate address detection, which would keep the address from being used for a second.
        format!("addr add {GATEWAY_V6}/64 dev {BRIDGE} nodad"),
    ])?;
    inside.ip(&[
        "link set dev lo up".to_owned(),
        format!("addr add {POD_V4}/24 dev {INTERFACE}"),
        format!("addr add {POD_V6}/64 dev {INTERFACE} nodad"),
        format!("link set dev {INTERFACE} up"),
        format!("route add default via {GATEWAY_V4}"),
        format!("route add default via {GATEWAY_V6}"),
    ])?;
    set(outside, &FORWARDS)?;
    Ok(pod)
}
