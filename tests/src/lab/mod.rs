//! A node, perhaps with a pod, and its masters, each in a network namespace of its own, on one bridge.
//!
//! `network` wires them, `pod` puts one behind the node, `master` runs stand-ins and their faults, `node` runs clients,
//! `agent` runs lbctl, `config` writes its configuration, `leftovers` finds what a lab failed to remove.

mod agent;
mod config;
mod dataplane;
mod leftovers;
mod master;
mod network;
mod node;
mod pod;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

pub use self::agent::Agent;
pub use self::dataplane::Dataplane;
pub use self::leftovers::leftovers;
pub use self::master::{Launch, Master};
pub use self::network::Host;
use self::network::Network;
pub use self::node::{ClientRun, Node};
use crate::bpffs::Bpffs;
use crate::cgroup::Cgroup;
use crate::name::LabName;
use crate::pki::{Pki, Signer};
use crate::preflight;

/// The virtual address of the lab's service.
pub const VIP: &str = "10.103.97.2:6443";
/// An IPv6 virtual address, for tests that configure one; the masters' certificates cover it.
pub const VIP_V6: &str = "[fd00:97::2]:6443";
/// The name of the lab's service.
pub const HOSTNAME: &str = "apiserver.cluster.local";
/// The port on which every master serves.
pub const PORT: u16 = 6443;
/// Masters are hosts 2 to 9 of the network; the node is 10.
const MAX_MASTERS: u8 = 8;
const NODE_NUMBER: u8 = 10;
const POD_NUMBER: u8 = 11;

/// A running lab. Fields are dropped in this order: processes first, what they stand on afterwards.
pub struct Lab {
    masters: Vec<Master>,
    pod: Option<Node>,
    node: Node,
    /// Ends the node's wire when dropped, with or without masters.
    _network: Arc<Network>,
    bpffs: Bpffs,
    pki: Pki,
    dir: TempDir,
    name: LabName,
    dataplane: Dataplane,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    masters: u8,
    local_master: bool,
    pod: Option<Place>,
    started: bool,
    dataplane: Dataplane,
}

/// Where a pod's interface ends.
#[derive(Clone, Copy, Debug)]
enum Place {
    BesideNode,
    BehindNode,
}

impl Lab {
    /// Three running masters and the socket dataplane, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { masters: 3, local_master: false, pod: None, started: true, dataplane: Dataplane::Socket }
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

impl Builder {
    /// How many masters have a host of their own; at most 8.
    #[must_use]
    pub fn masters(mut self, count: u8) -> Self {
        self.masters = count;
        self
    }

    /// One master more, on the node itself: for `prefer: local`.
    #[must_use]
    pub fn local_master(mut self) -> Self {
        self.local_master = true;
        self
    }

    /// A pod of the node, on the masters' network like the node itself: see [`Lab::pod`].
    #[must_use]
    pub fn pod(mut self) -> Self {
        self.pod = Some(Place::BesideNode);
        self
    }

    /// A pod whose traffic the node forwards, from a network that the masters do not know: see [`Lab::pod`].
    #[must_use]
    pub fn pod_behind_node(mut self) -> Self {
        self.pod = Some(Place::BehindNode);
        self
    }

    /// What the agent's configuration says of the dataplane.
    #[must_use]
    pub fn dataplane(mut self, dataplane: Dataplane) -> Self {
        self.dataplane = dataplane;
        self
    }

    /// Leaves the masters' processes to the test to start.
    #[must_use]
    pub fn not_started(mut self) -> Self {
        self.started = false;
        self
    }

    /// Builds it, or gives `None` where this machine cannot and the user allowed skipping.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_or_skip(self) -> anyhow::Result<Option<Lab>> {
        if preflight::ready(self.dataplane)? { self.assemble().map(Some) } else { Ok(None) }
    }

    /// Builds it.
    ///
    /// # Errors
    /// When this machine lacks something, which is named, or a step fails; what was made until then is removed.
    pub fn build(self) -> anyhow::Result<Lab> {
        let missing = preflight::missing(self.dataplane);
        if !missing.is_empty() {
            bail!("build a lab: this machine lacks {}", missing.join("; "));
        }
        self.assemble()
    }

    fn assemble(self) -> anyhow::Result<Lab> {
        ensure!(self.masters <= MAX_MASTERS, "build a lab: {} masters, at most {MAX_MASTERS}", self.masters);
        let name = LabName::unique();
        let dir = tempfile::Builder::new()
            .prefix(&name.role(""))
            .tempdir()
            .context("make the lab's temporary directory")?;
        std::fs::create_dir(dir.path().join("logs")).context("make the directory for logs")?;
        config::write_hosts_file(&dir.path().join("hosts"))?;
        let pki = Pki::new(dir.path())?;
        let bpffs = Bpffs::mount(dir.path().join("bpffs"))?;

        let network = Arc::new(Network::new(&name)?);
        let node_host = Arc::new(network.join(&name, "node", NODE_NUMBER)?);
        let mut masters = Vec::new();
        for number in 1..=self.masters {
            let host = Arc::new(network.join(&name, &format!("m{number}"), number + 1)?);
            masters.push(Master::new(format!("m{number}"), host, Arc::clone(&network), &pki, dir.path())?);
        }
        let pod_host = match self.pod {
            None => None,
            Some(Place::BesideNode) => Some(Arc::new(network.join(&name, "pod", POD_NUMBER)?)),
            Some(Place::BehindNode) => Some(Arc::new(pod::behind(&node_host, &name)?)),
        };
        if self.local_master {
            let host = Arc::clone(&node_host);
            masters.push(Master::new("local".into(), host, Arc::clone(&network), &pki, dir.path())?);
        }
        let cgroup = Arc::new(Cgroup::new(&name.role("node"))?);
        let outside = Arc::new(Cgroup::new(&name.role("outside"))?);
        let place = |host| {
            let groups = (Arc::clone(&cgroup), Arc::clone(&outside));
            Node::new(host, groups.0, groups.1, dir.path(), pki.ca(Signer::Lab))
        };
        let (node, pod) = (place(node_host), pod_host.map(place));
        let lab =
            Lab { masters, pod, node, _network: network, bpffs, pki, dir, name, dataplane: self.dataplane };
        if self.started {
            lab.masters.iter().try_for_each(Master::start)?;
        }
        Ok(lab)
    }
}
