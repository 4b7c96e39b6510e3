//! A node, perhaps with a pod, and its masters, each in a network namespace of its own, on one bridge.
//!
//! `builder` says what there is to be, `network` wires it, `pod` puts one behind the node, `forwarded` a virtual machine,
//! clients from elsewhere and masters behind a router. `master` runs stand-ins and their faults, `wall` is a firewall on one, `node` runs clients,
//! `agent` runs lbctl, `config` writes its configuration, `leftovers` finds what a lab failed to remove.

mod agent;
mod builder;
mod config;
mod dataplane;
mod forwarded;
mod leftovers;
mod master;
mod network;
mod node;
mod pod;
mod sysctl;
mod wall;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tempfile::TempDir;

pub use self::agent::Agent;
pub use self::builder::Builder;
pub use self::dataplane::Dataplane;
pub use self::leftovers::leftovers;
pub use self::master::{Launch, Master};
pub use self::network::Host;
use self::network::{Network, Wires};
pub use self::node::{ClientRun, Node};
pub use self::wall::Refusal;
use crate::bpffs::Bpffs;
use crate::name::LabName;
use crate::netns::Netns;
use crate::pki::Pki;

/// The virtual address of the lab's service.
pub const VIP: &str = "10.103.97.2:6443";
/// An IPv6 virtual address, for tests that configure one; the masters' certificates cover it.
pub const VIP_V6: &str = "[fd00:97::2]:6443";
/// The name of the lab's service.
pub const HOSTNAME: &str = "apiserver.cluster.local";
/// The port on which every master serves.
pub const PORT: u16 = 6443;
/// A running lab. Fields are dropped in this order: processes first, what they stand on afterwards.
pub struct Lab {
    masters: Vec<Master>,
    pod: Option<Node>,
    vm: Option<Node>,
    outsider: Option<Node>,
    node: Node,
    /// Each ends its hosts' wires when dropped, with or without masters.
    _near: Arc<Network>,
    far: Option<Arc<Network>>,
    outside: Option<Network>,
    wires: Wires,
    bpffs: Bpffs,
    pki: Pki,
    dir: TempDir,
    name: LabName,
    dataplane: Dataplane,
}

impl Lab {
    /// Three running masters and the socket dataplane, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Master `index`, from 0.
    ///
    /// # Panics
    /// When there are not so many: a mistake in the test.
    #[must_use]
    pub fn master(&self, index: usize) -> &Master {
        &self.masters[index]
    }

    /// All masters; one built by [`Builder::local_master`] comes last.
    #[must_use]
    pub fn masters(&self) -> &[Master] {
        &self.masters
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A pod of the node: in its cgroup, with a network namespace of its own.
    ///
    /// # Panics
    /// Without [`Builder::pod`]: a mistake in the test.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a mistake in the test")]
    pub fn pod(&self) -> &Node {
        self.pod.as_ref().expect("a lab built with a pod")
    }

    /// A virtual machine of the node's: outside its cgroup, behind its interface `tap0`.
    ///
    /// # Panics
    /// Without [`Builder::vm`]: a mistake in the test.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a mistake in the test")]
    pub fn vm(&self) -> &Node {
        self.vm.as_ref().expect("a lab built with a virtual machine")
    }

    /// A machine from elsewhere, behind a gateway on the node's interface `eth1`.
    ///
    /// # Panics
    /// Without [`Builder::outsider`]: a mistake in the test.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a mistake in the test")]
    pub fn outsider(&self) -> &Node {
        self.outsider.as_ref().expect("a lab built with a machine from elsewhere")
    }

    /// Takes the virtual machine's interface away from the node.
    ///
    /// # Errors
    /// When ip(8) fails, as when there is none.
    pub fn unplug_vm(&self) -> anyhow::Result<()> {
        forwarded::unplug(self.node.host())
    }

    /// Gives the virtual machine an interface of the same name again.
    ///
    /// # Errors
    /// When ip(8) fails.
    pub fn plug_vm(&self) -> anyhow::Result<()> {
        forwarded::plug(self.node.host(), self.vm().host(), self.wires)
    }

    /// The longest packets that reach the masters behind the router.
    ///
    /// # Errors
    /// Without such masters, or when ip(8) fails.
    pub fn set_far_mtu(&self, mtu: u32) -> anyhow::Result<()> {
        self.far.as_ref().context("set an MTU: the lab has no masters behind a router")?.set_mtu(mtu)
    }

    /// The longest packets that reach the machine from elsewhere.
    ///
    /// # Errors
    /// Without such a machine, or when ip(8) fails.
    pub fn set_outside_mtu(&self, mtu: u32) -> anyhow::Result<()> {
        self.outside.as_ref().context("set an MTU: the lab has no machine from elsewhere")?.set_mtu(mtu)
    }

    /// Every network namespace of the lab that has addresses: those of hosts and those of routers.
    #[must_use]
    pub fn namespaces(&self) -> Vec<&Netns> {
        let clients = [&self.pod, &self.vm, &self.outsider].into_iter().flatten();
        let hosts = clients.chain([&self.node]).map(Node::host).chain(self.masters.iter().map(Master::host));
        let routers = self.far.iter().map(|far| far.netns()).chain(self.outside.iter().map(Network::netns));
        let mut found: Vec<&Netns> = hosts.map(Host::netns).chain(routers).collect();
        found.sort_by_key(|netns| netns.name());
        found.dedup_by_key(|netns| netns.name());
        found
    }

    /// What the agent's configuration says of the dataplane, unless a test changes it.
    #[must_use]
    pub fn dataplane(&self) -> Dataplane {
        self.dataplane
    }

    /// The lab's certificate authorities.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The lab's temporary directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The hosts file that the agent manages.
    #[must_use]
    pub fn hosts_file(&self) -> PathBuf {
        self.dir().join("hosts")
    }

    /// The lab's name, with which everything begins that it made on the host.
    #[must_use]
    pub fn name(&self) -> &LabName {
        &self.name
    }
}
