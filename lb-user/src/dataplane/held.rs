//! What the kernel holds, whichever dataplane put it there, read without changing anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use lb_core::{
    control::{Adopted, Pair},
    model::{DataplaneKind, Policy, ServiceName},
};

use super::{Counters, DataplaneError, ipvs::IpvsDataplane, socket::SocketDataplane};
use crate::os::capability;

/// One service that the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldService {
    /// Its name; `None` where the dataplane has no place for it.
    pub name: Option<ServiceName>,
    /// How a backend is chosen.
    pub policy: Policy,
    /// The backends that take new connections, with their weights.
    pub weights: BTreeMap<SocketAddr, u32>,
    /// Every backend that is known.
    pub members: BTreeSet<SocketAddr>,
}

/// What the kernel holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Each service under its VIP, with the dataplane that takes its new connections.
    pub services: BTreeMap<SocketAddr, (DataplaneKind, HeldService)>,
    /// What was counted, by all dataplanes together: while a node moves from one to the other both have connections.
    pub counters: BTreeMap<Pair, Counters>,
}

impl Held {
    /// For the controller's start.
    pub fn adopted(&self) -> Adopted {
        let pairs = |(vip, (_, service)): (&SocketAddr, &(DataplaneKind, HeldService))| {
            service.weights.keys().map(|address| (*vip, *address)).collect::<Vec<_>>()
        };
        Adopted {
            serving: self.services.iter().flat_map(pairs).collect(),
            active: self.counters.iter().map(|(pair, counted)| (*pair, counted.active)).collect(),
        }
    }

    fn count(&mut self, counters: BTreeMap<Pair, Counters>) {
        for (pair, counted) in counters {
            *self.counters.entry(pair).or_default() += counted;
        }
    }
}

/// What the kernel holds of us; `None`: nothing.
pub fn peek(bpffs: &Path, state_dir: &Path) -> Result<Option<Held>, DataplaneError> {
    let mut held = None;
    if let Some(services) = IpvsDataplane::peek(state_dir)? {
        let held = held.get_or_insert_with(Held::default);
        held.services.extend(services.into_iter().map(|(vip, s)| (vip, (DataplaneKind::Ipvs, s))));
        held.count(IpvsDataplane::peek_counters()?);
    }
    if let Some(state) = SocketDataplane::peek(bpffs, None)? {
        let held = held.get_or_insert_with(Held::default);
        // Connects meet its hooks before any packet exists, unless it was told to leave them alone.
        if state.scope.is_some() || held.services.is_empty() {
            let services = state.services.into_iter();
            held.services.extend(services.map(|(vip, s)| (vip, (DataplaneKind::Socket, s.into()))));
        }
        held.count(SocketDataplane::peek_counters(bpffs)?);
    }
    Ok(held)
}

/// What the kernel counted.
pub fn counters(bpffs: &Path, state_dir: &Path) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
    Ok(peek(bpffs, state_dir)?.unwrap_or_default().counters)
}

/// Removes everything that any version of the agent ever put into the kernel. Says what was removed.
pub fn cleanup(bpffs: &Path, state_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    let mut removed = Vec::new();
    if bpffs.exists() {
        capability::require("detach programs")?;
        removed.extend(SocketDataplane::cleanup(bpffs)?);
    }
    removed.extend(IpvsDataplane::cleanup(state_dir)?);
    Ok(removed)
}
