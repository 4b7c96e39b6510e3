//! What the kernel should do: which backends of each service take new connections, and with which share.
//!
//! A [`DesiredState`] says it without a word about any dataplane. Who serves is decided in one place, [`serving`].

mod home;
mod ramp;
mod serving;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::SocketAddr};

pub use home::home;
pub use ramp::{Ramp, STEPS, grown};
pub use serving::{Candidate, OutWhy, ServingWhy, Standing, ends_connections, serving};

use crate::model::{Policy, ServiceName};

/// What the dataplane should hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DesiredState {
    /// Every service.
    pub services: Vec<DesiredService>,
}

/// One service as the dataplane should hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its name.
    pub name: ServiceName,
    /// Its virtual address.
    pub vip: SocketAddr,
    /// How a backend is chosen.
    pub policy: Policy,
    /// Those that take new connections; when empty, connects fail at once.
    pub serving: Vec<DesiredBackend>,
    /// Those that are up and stand by behind others: where a connection goes that one of those does not answer.
    pub reserve: BTreeSet<SocketAddr>,
    /// All known backends, serving or not: their counters are kept.
    pub members: Vec<SocketAddr>,
    /// Members whose established connections are ended: a dataplane that forwards packets lets none through to them.
    pub severed: BTreeSet<SocketAddr>,
}

/// One backend that takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its real address.
    pub address: SocketAddr,
    /// Its share, relative to the others. Never 0.
    pub weight: u32,
}
