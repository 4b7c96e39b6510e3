//! The vocabulary: names, addresses, an operator's intent, an observed health.

mod dataplanes;
mod health;
mod interface;
mod name;
mod settings;

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

pub use dataplanes::Dataplanes;
pub use health::Health;
pub use interface::{InterfacePattern, PatternError};
pub use name::{Hostname, NameError, ServiceName};
pub use settings::{Admin, ConnectionState, DataplaneKind, OnAllDown, OnDown, Policy, Prefer, Scope, Source};

/// The most backends one service can have: the size of a backend set in the kernel (`lb_common`).
pub const MAX_BACKENDS: usize = 64;

/// The most services one agent can have: the size of the service table in the kernel (`lb_common`).
pub const MAX_SERVICES: usize = 64;

/// One backend of one service. The same address may serve several services; each pair has a health of its own,
/// because each service may check it differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendKey {
    /// The service that the backend belongs to.
    pub service: ServiceName,
    /// The backend's real address and port.
    pub address: SocketAddr,
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.address)
    }
}
