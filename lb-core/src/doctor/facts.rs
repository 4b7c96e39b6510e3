mod backend;
mod packet;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use jiff::Timestamp;

pub use backend::{AnswerFact, BackendFact, CertificateFact, Origin};
pub use packet::PacketFacts;

use super::{Code, Finding};
use crate::{
    config::{Config, ServiceConfig},
    hosts::Status,
    model::Dataplanes,
};

/// What is known about a node, as plain data. `None`: it could not be learnt, and a [`Gap`] says why, or there was nothing
/// to learn.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// This node's clock.
    pub now: Timestamp,
    /// The configuration.
    pub config: ConfigFact,
    /// Capabilities that are missing, capabilities(7).
    pub missing_capabilities: Option<Vec<&'static str>>,
    /// The same of those that only the packet dataplane needs.
    pub missing_for_packets: Vec<&'static str>,
    /// The agent.
    pub agent: Option<AgentFact>,
    /// uname(2)'s release: `6.1.0-18-amd64`.
    pub kernel: String,
    /// Whether the kernel takes the socket dataplane's programs.
    pub programs: Option<Result<Programs, Lack>>,
    /// Whether it takes those of the packet dataplane.
    pub packet_programs: Option<Result<(), Lack>>,
    /// What the packet dataplane meets here, where it is used.
    pub packet: Option<PacketFacts>,
    /// The cgroup on which the socket dataplane's programs hang, or would.
    pub cgroup: Option<Result<PathBuf, Lack>>,
    /// Whether this process lives in it.
    pub lives_in_cgroup: bool,
    /// Whether the directory for pins lies on a bpffs, and which one it is.
    pub bpffs: Option<(PathBuf, bool)>,
    /// The limit of locked memory.
    pub memlock: Option<Memlock>,
    /// Whether the kernel can end sockets.
    pub sock_destroy: Option<bool>,
    /// Modules of the IPVS dataplane by name.
    pub modules: BTreeMap<String, Module>,
    /// What hangs on the cgroup's hooks.
    pub hooks: Option<HookFacts>,
    /// The dataplanes whose state the kernel holds of us.
    pub held: Option<Dataplanes>,
    /// A connection through each VIP, where something of ours is programmed.
    pub connects: Vec<SelfConnect>,
    /// IPVS, where it is loaded.
    pub ipvs: Option<IpvsFacts>,
    /// kube-proxy, where it is in IPVS mode.
    pub kube_proxy: Option<KubeProxyFact>,
    /// The node's own addresses.
    pub own_addresses: Option<BTreeSet<IpAddr>>,
    /// The IPv4 networks that the node's interfaces are in.
    pub links: Option<Vec<LinkFact>>,
    /// The cluster's address ranges, as far as files of this node tell them.
    pub cidrs: Vec<CidrFact>,
    /// The hosts file.
    pub hosts: Option<HostsFact>,
    /// The file and the value of cloud-init's `manage_etc_hosts`.
    pub cloud_init: Option<DropIn>,
    /// The `hosts:` line of nsswitch.conf without its label.
    pub nsswitch: Option<String>,
    /// Where a proxy is set.
    pub proxies: Vec<ProxyFact>,
    /// The backends that the agent has, those of discovery and of operators among them, by the services' names.
    pub members: BTreeMap<String, BTreeSet<SocketAddr>>,
    /// What came of asking each backend.
    pub backends: Vec<BackendFact>,
    /// Certificates, from backends and from files.
    pub certificates: Vec<CertificateFact>,
    /// Whether firewalld runs.
    pub firewalld: Option<bool>,
    /// What could not be learnt.
    pub gaps: Vec<Gap>,
}

/// The configuration.
#[derive(Clone, Debug, Default)]
pub enum ConfigFact {
    /// There is no file, and no flags say what a file would.
    #[default]
    None,
    /// It is right.
    Good(Box<Config>),
    /// It is wrong or cannot be read: one line for each mistake.
    Bad(String),
}

/// Something that could not be learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which finding lacks it.
    pub code: Code,
    /// What failed, and why.
    pub why: String,
}

impl Gap {
    pub(super) fn finding(&self) -> Finding {
        let remedy = "look at the cause, or run doctor as root on the host itself";
        Finding::warn(self.code, format!("unknown: {}", self.why), remedy)
    }
}

/// Something that the kernel or the host does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentFact {
    /// No agent listens.
    NotRunning,
    /// It answers.
    Running {
        /// Its version.
        version: String,
        /// Those in use.
        dataplanes: Dataplanes,
        /// Why the dataplane is not effective; `None` where it is.
        ineffective: Option<String>,
        /// What its status warns of.
        warnings: Vec<String>,
    },
}

/// The socket dataplane's programs, which the kernel took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programs {
    /// With bpf_set_retval (Linux 5.18): a refused connect has an errno that says so.
    pub set_retval: bool,
}

/// The limit of locked memory, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memlock {
    /// None.
    Unlimited,
    /// In bytes.
    Bytes(u64),
}

/// A kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Loaded, or part of the kernel.
    Present,
    /// On disk.
    Loadable,
    /// Neither.
    Absent,
    /// The directory of modules cannot be seen from here.
    Unknown,
}

/// What hangs on the cgroup's hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookFacts {
    /// Programs that are not ours, those of parent cgroups included.
    pub foreign: Vec<AttachedProgram>,
    /// Hooks of the cgroup itself that somebody took for one program alone.
    pub exclusive: Vec<String>,
}

/// A program on a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The hook: `connect4`.
    pub hook: String,
    /// The program's id, as bpftool shows it.
    pub id: u32,
    /// The program's name, 15 characters at most.
    pub name: String,
}

/// A connection to a VIP, made by doctor itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfConnect {
    /// The VIP.
    pub vip: SocketAddr,
    /// Whom the kernel says that the socket talks to; or why there was no connection.
    pub peer: Result<SocketAddr, String>,
}

/// IPVS of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsFacts {
    /// How many services there are, whoever made them.
    pub services: usize,
    /// Services at one of the config's VIPs that are not ours, with their destinations.
    pub foreign: BTreeMap<SocketAddr, Vec<SocketAddr>>,
}

/// kube-proxy in IPVS mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxyFact {
    /// How it is known.
    pub seen: String,
    /// Its excludeCIDRs; `None`: they could not be learnt.
    pub exclude: Option<Vec<String>>,
}

/// An IPv4 network that an interface is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFact {
    /// The interface.
    pub interface: String,
    /// The network: `192.168.0.0/24`.
    pub network: String,
    /// The interface's `arp_ignore`, or that of all if that is higher; 0: any local address is answered for.
    pub arp_ignore: u32,
}

/// What an address range of the cluster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CidrUse {
    /// Cluster IPs of Services.
    Services,
    /// Pods.
    Pods,
}

/// An address range of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CidrFact {
    /// What it is for.
    pub used_by: CidrUse,
    /// The range: `10.96.0.0/12`.
    pub cidr: String,
    /// The file or process that says so.
    pub source: String,
}

/// The hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFact {
    /// The file.
    pub path: PathBuf,
    /// How it compares with what is wanted, or why that cannot be told.
    pub status: Result<Status, String>,
}

/// A setting and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// The file.
    pub path: PathBuf,
    /// The value.
    pub value: String,
}

/// A place that sets a proxy for https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyFact {
    /// Where it is set.
    pub source: String,
    /// Whether a component of the cluster runs with it, such as the kubelet.
    pub component: bool,
    /// The proxy.
    pub proxy: String,
    /// Who is asked without it; empty where it is not set.
    pub no_proxy: String,
}

impl Facts {
    /// The configuration, where it is right.
    pub fn config(&self) -> Option<&Config> {
        match &self.config {
            ConfigFact::Good(config) => Some(config),
            ConfigFact::None | ConfigFact::Bad(_) => None,
        }
    }

    /// The backends of a service: those of the configuration, and those that the agent has.
    pub fn backends_of(&self, service: &ServiceConfig) -> BTreeSet<SocketAddr> {
        let configured = service.backends.iter().map(|backend| backend.address);
        configured.chain(self.members.get(service.name.as_str()).into_iter().flatten().copied()).collect()
    }

    /// The VIPs of the configuration.
    pub(super) fn vips(&self) -> impl Iterator<Item = SocketAddr> {
        self.config().into_iter().flat_map(|config| config.services.iter().map(|service| service.vip))
    }

    pub(super) fn agent_runs(&self) -> bool {
        matches!(self.agent, Some(AgentFact::Running { .. }))
    }
}
