//! What there is in a lab.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::network::{Host, Network, Wires};
use super::sysctl::{LIBERAL, STRICT, set};
use super::{Dataplane, Lab, Master, Node, config, forwarded, pod};
use crate::bpffs::Bpffs;
use crate::cgroup::Cgroup;
use crate::name::LabName;
use crate::pki::{Pki, Signer};
use crate::preflight;

/// Masters are hosts 2 to 9 of their network; the node is 10, the router 12.
const MAX_MASTERS: u8 = 8;
const NODE_NUMBER: u8 = 10;
const POD_NUMBER: u8 = 11;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    masters: u8,
    routed_masters: u8,
    local_master: bool,
    pod: Option<Place>,
    vm: bool,
    outsider: bool,
    strict: bool,
    wires: Wires,
    started: bool,
    dataplane: Dataplane,
}

/// Where a pod's interface ends.
#[derive(Clone, Copy, Debug)]
enum Place {
    BesideNode,
    BehindNode,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            masters: 3,
            routed_masters: 0,
            local_master: false,
            pod: None,
            vm: false,
            outsider: false,
            strict: false,
            wires: Wires::default(),
            started: true,
            dataplane: Dataplane::Socket,
        }
    }

    /// How many masters have a host of their own; at most 8.
    #[must_use]
    pub fn masters(mut self, count: u8) -> Self {
        self.masters = count;
        self
    }

    /// So many masters more, behind a router: see [`Lab::set_far_mtu`].
    #[must_use]
    pub fn routed_masters(mut self, count: u8) -> Self {
        self.routed_masters = count;
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

    /// A virtual machine whose traffic the node forwards: see [`Lab::vm`].
    #[must_use]
    pub fn vm(mut self) -> Self {
        self.vm = true;
        self
    }

    /// A machine from elsewhere whose traffic the node forwards: see [`Lab::outsider`].
    #[must_use]
    pub fn outsider(mut self) -> Self {
        self.outsider = true;
        self
    }

    /// The node takes packets only from the interface by which it reaches their source.
    #[must_use]
    pub fn strict_rp_filter(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Hosts find each other by ARP and ND: after a cut a connect ends with EHOSTUNREACH after three seconds.
    #[must_use]
    pub fn real_neighbours(mut self) -> Self {
        self.wires.real_neighbours = true;
        self
    }

    /// Hosts check the checksums of what they get, as they do where packets come over a cable.
    #[must_use]
    pub fn checked_wires(mut self) -> Self {
        self.wires.checked = true;
        self
    }

    /// The node's wires are like cables between network cards that know XDP, and its nf_conntrack need not see all packets.
    #[must_use]
    pub fn cables(mut self) -> Self {
        self.wires.cables = true;
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
        let count = self.masters + self.routed_masters;
        ensure!(count <= MAX_MASTERS, "build a lab: {count} masters, at most {MAX_MASTERS}");
        let name = LabName::unique();
        let dir = tempfile::Builder::new()
            .prefix(&name.role(""))
            .tempdir()
            .context("make the lab's temporary directory")?;
        std::fs::create_dir(dir.path().join("logs")).context("make the directory for logs")?;
        config::write_hosts_file(&dir.path().join("hosts"))?;
        let pki = Pki::new(dir.path())?;
        let bpffs = Bpffs::mount(dir.path().join("bpffs"))?;

        let near = Arc::new(Network::new(&name, self.wires)?);
        let node_host = Arc::new(near.join(&name, "node", NODE_NUMBER)?);
        if self.strict {
            set(node_host.netns(), &STRICT)?;
        }
        if self.wires.cables {
            set(node_host.netns(), &LIBERAL)?;
        }
        let far = self.far(&near, &node_host, &name)?;
        let masters = Places { near: &near, far: far.as_ref(), node: &node_host };
        let masters = self.make_masters(&masters, &name, &pki, dir.path())?;
        let pod_host = self.pod_host(&near, &node_host, &name)?;
        let vm_host = self.vm.then(|| forwarded::vm(&node_host, &name)).transpose()?;
        if let Some(vm) = &vm_host {
            forwarded::plug(&node_host, vm, self.wires)?;
        }
        let outside =
            self.outsider.then(|| forwarded::outsider(&node_host, &name, self.wires)).transpose()?;
        let (outside, outsider_host) = outside.unzip();

        let cgroup = Arc::new(Cgroup::new(&name.role("node"))?);
        let elsewhere = Arc::new(Cgroup::new(&name.role("outside"))?);
        let place = |host, cgroup: &Arc<Cgroup>| {
            let groups = (Arc::clone(cgroup), Arc::clone(&elsewhere));
            Node::new(host, groups.0, groups.1, dir.path(), pki.ca(Signer::Lab))
        };
        let lab = Lab {
            masters,
            pod: pod_host.map(|host| place(host, &cgroup)),
            vm: vm_host.map(|host| place(Arc::new(host), &elsewhere)),
            outsider: outsider_host.map(|host| place(Arc::new(host), &elsewhere)),
            node: place(node_host, &cgroup),
            _near: near,
            far,
            outside,
            wires: self.wires,
            bpffs,
            pki,
            dir,
            name,
            dataplane: self.dataplane,
        };
        if self.started {
            lab.masters.iter().try_for_each(Master::start)?;
        }
        Ok(lab)
    }

    fn far(&self, near: &Network, node: &Host, name: &LabName) -> anyhow::Result<Option<Arc<Network>>> {
        if self.routed_masters == 0 {
            return Ok(None);
        }
        forwarded::far(near, node, name, self.wires).map(|far| Some(Arc::new(far)))
    }

    /// Those beside the node, those behind the router, and the one on the node, in this order.
    fn make_masters(
        &self,
        at: &Places<'_>,
        name: &LabName,
        pki: &Pki,
        dir: &Path,
    ) -> anyhow::Result<Vec<Master>> {
        let mut masters = Vec::new();
        for number in 1..=self.masters + self.routed_masters {
            let role = format!("m{number}");
            let (network, host) = match at.far {
                Some(far) if number > self.masters => (far, far.join_behind(name, &role, number + 1)?),
                Some(_) | None => (at.near, at.near.join(name, &role, number + 1)?),
            };
            masters.push(Master::new(role, Arc::new(host), Arc::clone(network), pki, dir)?);
        }
        if self.local_master {
            let host = Arc::clone(at.node);
            masters.push(Master::new("local".into(), host, Arc::clone(at.near), pki, dir)?);
        }
        Ok(masters)
    }

    fn pod_host(&self, near: &Network, node: &Host, name: &LabName) -> anyhow::Result<Option<Arc<Host>>> {
        let host = match self.pod {
            None => return Ok(None),
            Some(Place::BesideNode) => near.join(name, "pod", POD_NUMBER)?,
            Some(Place::BehindNode) => pod::behind(node, name)?,
        };
        Ok(Some(Arc::new(host)))
    }
}

/// Where masters may be.
struct Places<'a> {
    near: &'a Arc<Network>,
    far: Option<&'a Arc<Network>>,
    node: &'a Arc<Host>,
}
