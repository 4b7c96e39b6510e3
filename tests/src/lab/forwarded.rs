//! Clients that the node only forwards: a virtual machine on it, and machines from elsewhere. The masters know none of
//! their networks, and no process of theirs is in a cgroup of the node.
//!
//! ```text
//! vm eth0 ── tap0 node eth0 ── br0 ── masters
//!                 node eth0 ── br0 ── eth0 router br0 ── masters behind a router
//!                 node eth1 ── eth0 gateway br0 ── outsider
//! ```

use super::network::{Host, INTERFACE, Network, Subnet, Wires, cable, check};
use super::sysctl::{FORWARDS, set};
use crate::name::LabName;
use crate::netns::Netns;

/// The node's interface to the virtual machine.
pub(super) const TAP: &str = "tap0";
/// The node's interface to the gateway.
const SECOND: &str = "eth1";
const NODE: u8 = 1;
const PEER: u8 = 2;
/// The router among the masters.
const ROUTER: u8 = 12;
const OUTSIDER: u8 = 2;

/// A namespace that is to be a virtual machine of the node's; [`plug`] connects it.
pub(super) fn vm(node: &Host, name: &LabName) -> anyhow::Result<Host> {
    let subnet = Subnet::VM;
    let vm = Host::new("vm", Netns::new(name.role("vm"))?, subnet.v4(PEER), subnet.v6(PEER));
    vm.netns().ip(&["link set dev lo up".to_owned()])?;
    set(node.netns(), &FORWARDS)?;
    Ok(vm)
}

/// Connects a virtual machine to the node, as a hypervisor does when the machine starts.
pub(super) fn plug(node: &Host, vm: &Host, wires: Wires) -> anyhow::Result<()> {
    let far = format!("peer name {INTERFACE} netns {}", vm.netns().name());
    wire(node.netns(), TAP, &far, Subnet::VM)?;
    let mut lines = Subnet::VM.addresses(INTERFACE, PEER).to_vec();
    lines.push(format!("link set dev {INTERFACE} up"));
    lines.extend(Subnet::VM.default_routes(NODE));
    vm.netns().ip(&lines)?;
    if wires.checked { check(node.netns(), TAP) } else { Ok(()) }
}

/// Takes the connection away again, the interface with it.
pub(super) fn unplug(node: &Host) -> anyhow::Result<()> {
    node.netns().ip(&[format!("link del dev {TAP}")])
}

/// The network behind the gateway, and a machine on it.
pub(super) fn outsider(node: &Host, name: &LabName, wires: Wires) -> anyhow::Result<(Network, Host)> {
    let subnet = Subnet::WIRE;
    let gateway = Host::new("gateway", Netns::new(name.role("gateway"))?, subnet.v4(PEER), subnet.v6(PEER));
    let far = format!("peer name {INTERFACE} netns {}", gateway.netns().name());
    wire(node.netns(), SECOND, &far, subnet)?;
    node.netns().ip(&Subnet::OUTSIDE.routes(subnet, PEER))?;
    let mut lines = vec!["link set dev lo up".to_owned()];
    lines.extend(subnet.addresses(INTERFACE, PEER));
    lines.push(format!("link set dev {INTERFACE} up"));
    lines.extend(subnet.default_routes(NODE));
    gateway.netns().ip(&lines)?;
    set(gateway.netns(), &FORWARDS)?;
    set(node.netns(), &FORWARDS)?;
    if wires.checked {
        check(node.netns(), SECOND)?;
    }
    if wires.cables {
        cable(gateway.netns(), INTERFACE)?;
    }
    let network = Network::behind(gateway, Subnet::OUTSIDE, wires)?;
    let outsider = network.join_behind(name, "outsider", OUTSIDER)?;
    Ok((network, outsider))
}

/// The network behind a router among the masters; the node knows the way.
pub(super) fn far(near: &Network, node: &Host, name: &LabName, wires: Wires) -> anyhow::Result<Network> {
    let router = near.join(name, "router", ROUTER)?;
    set(router.netns(), &FORWARDS)?;
    node.netns().ip(&Subnet::FAR.routes(Subnet::NEAR, ROUTER))?;
    Network::behind(router, Subnet::FAR, wires)
}

/// A veth pair whose end in the node has the first address of the subnet.
fn wire(node: &Netns, interface: &str, peer: &str, subnet: Subnet) -> anyhow::Result<()> {
    let mut lines = vec![format!("link add name {interface} type veth {peer}")];
    lines.extend(subnet.addresses(interface, NODE));
    lines.push(format!("link set dev {interface} up"));
    node.ip(&lines)
}
