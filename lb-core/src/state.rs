//! What outlives the agent besides the kernel's state: the operator's intent and what was last known, kept as JSON in
//! `stateDir`.

use std::{collections::BTreeMap, net::SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Admin, BackendKey, ServiceName};

/// The version of the format. A file of another version is set aside.
pub const STATE_VERSION: u32 = 1;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// Only services and backends about which there is something to say.
    pub services: BTreeMap<ServiceName, BTreeMap<SocketAddr, BackendState>>,
    /// Apiservers that the cluster listed, and when it did so last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listed: BTreeMap<ServiceName, BTreeMap<SocketAddr, Timestamp>>,
}

/// What is kept of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendState {
    /// The operator's intent.
    pub admin: Admin,
    /// When the connections of a draining backend are ended; `None`: they are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<Timestamp>,
    /// A change made at run time; `None`: what the config says holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeChange>,
    /// When it last became up. A backend never seen healthy gets no traffic, not even when all are down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_up: Option<Timestamp>,
}

/// A change made at run time. It holds until the config says something else about the backend than it did then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeChange {
    /// The weight that the backend has now; `None`: it was removed.
    pub weight: Option<u16>,
    /// The weight that the config gave it then; `None`: the config did not name it.
    pub config: Option<u16>,
}

impl Default for State {
    fn default() -> Self {
        Self { version: STATE_VERSION, services: BTreeMap::new(), listed: BTreeMap::new() }
    }
}

impl Default for BackendState {
    fn default() -> Self {
        Self { admin: Admin::Active, drain_until: None, runtime: None, last_up: None }
    }
}

impl State {
    /// What is kept of a backend.
    pub fn get(&self, key: &BackendKey) -> BackendState {
        self.services.get(&key.service).and_then(|s| s.get(&key.address)).copied().unwrap_or_default()
    }

    /// Replaces what is kept of a backend; what says nothing is not kept.
    pub fn set(&mut self, key: &BackendKey, state: BackendState) {
        let backends = self.services.entry(key.service.clone()).or_default();
        if state == BackendState::default() {
            backends.remove(&key.address);
        } else {
            backends.insert(key.address, state);
        }
        if backends.is_empty() {
            self.services.remove(&key.service);
        }
    }
}
