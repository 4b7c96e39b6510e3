//! What `lbctl backends` and `lbctl status` print with `-o json`, and what the admin API answers: SPEC section 4.
//! Keys are stable; more may be added.

pub mod connections;

use std::{net::SocketAddr, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Admin, DataplaneKind, Dataplanes, Health, Hostname, Policy, Scope, ServiceName, Source};

/// `GET /v1/backends`, `lbctl backends -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendsView {
    /// Every service, by name.
    pub services: Vec<ServiceView>,
}

/// One service and its backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// The service's name.
    pub name: ServiceName,
    /// The virtual address.
    pub vip: SocketAddr,
    /// The name in the hosts file.
    pub hostname: Option<Hostname>,
    /// Which dataplane maps it; the first of `dataplanes`.
    pub dataplane: DataplaneKind,
    /// All that map it. Empty: it was told by an lbctl that knew of one only.
    #[serde(default)]
    pub dataplanes: Vec<DataplaneKind>,
    /// How a backend is chosen.
    pub policy: Policy,
    /// Every backend, in the order of the config file, then those added at run time.
    pub backends: Vec<BackendView>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// The real address.
    pub address: SocketAddr,
    /// Where it comes from.
    pub source: Source,
    /// The operator's intent.
    pub admin: Admin,
    /// What was observed.
    pub health: Health,
    /// Whether new connections may go to it now.
    pub serving: bool,
    /// Why it is not up or not serving; `null` where all is well.
    pub reason: Option<String>,
    /// Since when `health` is what it is; `null` when nobody knows (no agent).
    pub since: Option<Timestamp>,
    /// Its share, relative to the others.
    pub weight: u16,
    /// Whether the address is one of this node's own.
    pub local: bool,
    /// What the kernel counted.
    pub connections: ConnectionsView,
    /// The last probe.
    pub probe: ProbeView,
}

/// Connections through the VIP to one backend, counted in the kernel since the backend was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionsView {
    /// Established now.
    pub active: u64,
    /// Sent to it, ever.
    pub total: u64,
    /// Refused by it, ever.
    pub refused: u64,
}

/// The last probe of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeView {
    /// Milliseconds that the last answered probe took; `null` before the first.
    pub latency_ms: Option<f64>,
    /// Failures in a row.
    pub failures: u32,
}

/// `GET /v1/status`, `lbctl status -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// The agent itself.
    pub agent: AgentView,
    /// The dataplane.
    pub dataplane: DataplaneView,
    /// The hosts file.
    pub hosts: HostsView,
    /// Every service, by name.
    pub services: Vec<ServiceView>,
    /// The last changes of a backend's health or service, newest first.
    pub transitions: Vec<TransitionView>,
    /// What somebody should look at; empty where all is well.
    pub warnings: Vec<String>,
}

/// The agent itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// lbctl's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The config file; `null` where flags alone were given.
    pub config: Option<PathBuf>,
    /// When the config in force was read.
    pub config_loaded: Timestamp,
    /// Why the newest config is not in force; `null` where it is.
    pub config_error: Option<String>,
}

/// The dataplane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataplaneView {
    /// Which one; the first of `kinds`.
    pub kind: DataplaneKind,
    /// All that are in use. Empty: it was told by an lbctl that knew of one only.
    #[serde(default)]
    pub kinds: Vec<DataplaneKind>,
    /// Why this one.
    pub why: String,
    /// Whose connections it balances.
    pub scope: Scope,
    /// Whether it was proven to work; `false` comes with an `error`.
    pub effective: bool,
    /// What the dataplane last complained about; `null` where all is well.
    pub error: Option<String>,
    /// Facts that differ between dataplanes, as label and value: the cgroup, the pins, whether the kernel can end
    /// sockets.
    pub facts: Vec<(String, String)>,
}

impl DataplaneView {
    /// All that are in use, as one.
    pub fn dataplanes(&self) -> Dataplanes {
        let pair = Dataplanes::SocketAndPacket;
        if self.kinds == pair.kinds() { pair } else { self.kind.into() }
    }
}

/// The hosts file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostsView {
    /// The file.
    pub path: PathBuf,
    /// Whether the agent keeps its block in it.
    pub manage: bool,
    /// Whether the block was in place when it was last looked at.
    pub in_place: bool,
    /// Why it is not; `null` where it is.
    pub error: Option<String>,
}

/// One change of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionView {
    /// When.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// The backend.
    pub address: SocketAddr,
    /// What it was.
    pub from: Health,
    /// What it became.
    pub to: Health,
    /// Why.
    pub reason: Option<String>,
}
