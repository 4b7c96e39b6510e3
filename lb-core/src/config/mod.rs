//! The configuration: what the file, the environment and the flags say, validated.
//!
//! A [`Config`] that exists is right: names are unique, families match, durations are sane. Reading is done by the
//! caller; this module works on text.

mod address;
mod duration;
mod error;
mod load;
mod overlay;
mod path;
mod position;
mod problem;
mod raw;
mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod validate;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::{
    hosts::Entry,
    model::{
        DataplaneKind, Dataplanes, Hostname, InterfacePattern, OnAllDown, OnDown, Policy, Prefer, Scope,
        ServiceName,
    },
    probe::HealthCheck,
};

pub use address::AddressError;
pub use duration::{ConfigDuration, DurationError};
pub use error::{ConfigError, ConfigErrors, MAX_ERRORS, Position};
pub use load::{MAX_FILE_BYTES, load};
pub use overlay::{DEFAULT_SERVICE, Overrides};
pub use problem::{Problem, YamlFeature};

/// The whole configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What to use; `None`: the first dataplane that the host supports.
    pub dataplane: Option<Dataplanes>,
    /// Whether a connection that the socket dataplane made is sent to another backend when the first does not answer, where the
    /// kernel can do it.
    pub rescue: bool,
    /// The packet dataplane.
    pub packet: PacketConfig,
    /// Whose connections are balanced.
    pub scope: Scope,
    /// The cgroup whose processes are served; `None`: the root of the cgroup-v2 hierarchy.
    pub cgroup: Option<PathBuf>,
    /// Where programs, links and maps are pinned.
    pub bpffs: PathBuf,
    /// Where the operator's intent and the last known backends are kept.
    pub state_dir: PathBuf,
    /// The hosts file.
    pub hosts: HostsConfig,
    /// The admin API's unix socket.
    pub admin_socket: PathBuf,
    /// Where metrics and the status page are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// The packet dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketConfig {
    /// Whose traffic to a VIP is taken. Those towards the backends and the loopback interface are followed in any case.
    pub interfaces: Interfaces,
    /// The wires between which XDP takes the packets of connections that are open; none twice. Empty: XDP is off.
    pub xdp: Vec<InterfacePattern>,
    /// How many connections the table holds that both sides have agreed to.
    pub connections: u32,
    /// Whether the backends see the node's address instead of the client's.
    pub masquerade: bool,
    /// Whether packets of open connections that the node forwards pass by its stack, and answers to its own processes by the
    /// loopback interface, where nobody there looks at them.
    pub shortcut: bool,
}

/// A choice of network interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Every one.
    All,
    /// Those that a pattern matches. Never empty, none twice.
    Named(Vec<InterfacePattern>),
}

impl Interfaces {
    /// Whether an interface of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }
}

/// The hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsConfig {
    /// The file.
    pub path: PathBuf,
    /// Whether the agent keeps its block in it.
    pub manage: bool,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name, unique.
    pub name: ServiceName,
    /// Its virtual address, unique. The port is never 0, the address never unspecified.
    pub vip: SocketAddr,
    /// The name in the hosts file; `None`: no entry.
    pub hostname: Option<Hostname>,
    /// How a backend is chosen.
    pub policy: Policy,
    /// Whether the node's own backend goes first.
    pub prefer: Prefer,
    /// 1 to [`crate::model::MAX_BACKENDS`] backends, of the VIP's family, none equal to a VIP, none twice.
    pub backends: Vec<BackendConfig>,
    /// The cluster's own list of apiservers, which adds to the backends; `None`: it is not followed.
    pub discovery: Option<KubernetesDiscovery>,
    /// How long the weight of a backend grows that is back; `None`: it has all of it at once.
    pub slow_start: Option<Duration>,
    /// How many connections a minute are ended on this node, so that a backend that is back gets its share of the
    /// long-lived ones; `None`: they stay where they are.
    pub rebalance: Option<NonZeroU32>,
    /// How they are checked. A `deadAfter` that is not written is 4s, or `fall * interval` where that is
    /// shorter: a config with quicker probes means a quicker verdict. It is never below `timeout`.
    pub health: HealthCheck,
    /// What happens to the connections of a dead backend.
    pub on_down: OnDown,
    /// Who serves when none is up.
    pub on_all_down: OnAllDown,
}

/// Where kubeadm writes the kubelet's kubeconfig.
pub const KUBELETS_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// Where the cluster's own list of apiservers comes from: the apiservers that are up, asked as whom a kubeconfig says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesDiscovery {
    /// The kubeconfig, absolute. The address in it is not dialled.
    pub kubeconfig: PathBuf,
    /// From one look at the whole list to the next. Where watching is allowed, a watch tells of changes between them.
    /// Never zero.
    pub interval: Duration,
}

/// One backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Its real address. The port is never 0.
    pub address: SocketAddr,
    /// Its share, relative to the others; 0: no new connections.
    pub weight: u16,
}

impl Config {
    /// Whether a dataplane is named: by `auto`, none is.
    pub fn names(&self, kind: DataplaneKind) -> bool {
        self.dataplane.is_some_and(|named| named.has(kind))
    }

    /// What the hosts file should say: one entry for each service that has a host name.
    pub fn hosts_entries(&self) -> Vec<Entry> {
        let entry = |s: &ServiceConfig| {
            Some(Entry { address: s.vip.ip(), hostname: s.hostname.as_ref()?.to_string() })
        };
        self.services.iter().filter_map(entry).collect()
    }
}
