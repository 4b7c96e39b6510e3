//! The IPVS dataplane: the kernel's own load balancer, programmed over netlink.
//!
//! `native` is the state as data, `change` the way from one to another, `kernel` makes the calls; `evict` ends sockets,
//! `foreign` decides whose a service is.

mod apply;
mod change;
mod connections;
mod error;
mod evict;
mod foreign;
mod inspect;
pub mod kernel;
mod loss;
mod native;
mod observe;
mod remove;
mod scheduler;
mod survey;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_core::{
    control::{Eviction, Pair},
    desired::DesiredState,
    model::{DataplaneKind, Scope},
};

pub use change::Change;
pub use native::{Destination, Forwarding, IpvsState, Service};
pub use scheduler::Scheduling;
pub use survey::survey;

use self::{
    error::{failed, nft_failed, no_ipvs},
    evict::Severed,
    foreign::Owner,
    inspect::Chains,
    kernel::{genl::Ipvs, nft, route},
    loss::Losses,
    native::Intake,
    observe::Surroundings,
};
use super::{
    Counters, Dataplane, DataplaneError, Evicted, HeldService, Inspection, Unsupported, elders::Elders,
};
use crate::os::module;

/// Other programs are known to delete services (kube-proxy): they are back within a second.
const RESYNC: Duration = Duration::from_millis(500);

/// What the dataplane is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose connections are served.
    pub scope: Scope,
    /// Where to remember what settings were before.
    pub state_dir: PathBuf,
}

/// The IPVS dataplane of one network namespace: that of the thread that opened it, and that must go on using it.
pub struct IpvsDataplane {
    options: Options,
    ipvs: Ipvs,
    intake: Intake,
    /// The VIPs that are ours.
    claimed: BTreeSet<SocketAddr>,
    desired: DesiredState,
    surroundings: Option<Surroundings>,
    losses: Losses,
    severed: Severed,
    chains: Chains,
    can_end_sockets: bool,
    elders: Elders,
}

impl IpvsDataplane {
    /// Finds IPVS, which is loaded if it may be, and what an earlier agent left of it. Changes nothing.
    pub fn open(options: Options) -> Result<Self, DataplaneError> {
        let mut ipvs = open_or_load()?;
        // The first thing that needs the capability.
        ipvs.idle_timeout().map_err(failed("read", "IPVS's timeouts"))?;
        let can_end_sockets = super::evict::can_end_sockets()?;
        let claimed = claims(&mut ipvs)?;
        Ok(Self {
            options,
            ipvs,
            intake: Intake::Open,
            claimed,
            desired: DesiredState::default(),
            surroundings: None,
            losses: Losses::default(),
            severed: Severed::default(),
            chains: Chains::default(),
            can_end_sockets,
            elders: Elders::default(),
        })
    }

    /// Our services that the kernel holds.
    pub fn services(&mut self) -> Result<BTreeMap<SocketAddr, HeldService>, DataplaneError> {
        services(&mut self.ipvs, &self.claimed)
    }

    /// Our services that the kernel holds, without loading or changing anything; `None` when there is nothing of ours.
    pub fn peek(_state_dir: &Path) -> Result<Option<BTreeMap<SocketAddr, HeldService>>, DataplaneError> {
        let Some((mut ipvs, claimed)) = found()? else { return Ok(None) };
        services(&mut ipvs, &claimed).map(Some)
    }

    /// What the kernel counted, without an agent.
    pub fn peek_counters() -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        match found()? {
            Some((mut ipvs, claimed)) => counters(&mut ipvs, &claimed),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Removes everything that any agent ever made here, and nothing else. Says what was removed.
    pub fn cleanup(state_dir: &Path) -> Result<Vec<String>, DataplaneError> {
        remove::remove(state_dir)
    }

    /// What surrounds IPVS, read anew where that is due.
    fn surroundings(&mut self, desired: &DesiredState) -> Result<&Surroundings, DataplaneError> {
        let seen = match self.surroundings.take().filter(|seen| seen.is_fresh(desired)) {
            Some(seen) => seen,
            None => Surroundings::read(desired)?,
        };
        Ok(self.surroundings.insert(seen))
    }
}

/// Linux 6.1 loads IPVS when it is asked for its netlink family; 5.10 does not.
fn open_or_load() -> Result<Ipvs, DataplaneError> {
    let open = || Ipvs::open().map_err(failed("ask the kernel for", "IPVS"));
    if let Some(ipvs) = open()? {
        return Ok(ipvs);
    }
    if let Err(error) = module::load("ip_vs") {
        tracing::debug!(%error, "failed to load ip_vs");
    }
    open()?.ok_or_else(no_ipvs)
}

/// Where something of ours is in the kernel: IPVS, and the VIPs that are ours.
fn found() -> Result<Option<(Ipvs, BTreeSet<SocketAddr>)>, DataplaneError> {
    if !observe::is_loaded() {
        return Ok(None);
    }
    let ipvs = Ipvs::open().map_err(failed("ask the kernel for", "IPVS"))?;
    let Some(mut ipvs) = ipvs else { return Ok(None) };
    let claimed = claims(&mut ipvs)?;
    Ok((!claimed.is_empty()).then_some((ipvs, claimed)))
}

fn claims(ipvs: &mut Ipvs) -> Result<BTreeSet<SocketAddr>, DataplaneError> {
    let marks = nft::owned().map_err(nft_failed("read the sets of"))?;
    let routes = route::observe().map_err(failed("list", "the routes to the VIPs"))?;
    observe::claims(ipvs, &marks, &routes)
}

fn services(
    ipvs: &mut Ipvs,
    claimed: &BTreeSet<SocketAddr>,
) -> Result<BTreeMap<SocketAddr, HeldService>, DataplaneError> {
    let mut found = BTreeMap::new();
    for vip in claimed {
        found.extend(observe::service(ipvs, *vip)?.map(|service| (*vip, service.held())));
    }
    Ok(found)
}

fn counters(
    ipvs: &mut Ipvs,
    claimed: &BTreeSet<SocketAddr>,
) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
    let mut found = BTreeMap::new();
    for vip in claimed {
        let entries = ipvs.destinations(*vip).map_err(failed("count the connections of", vip.to_string()))?;
        found.extend(entries.into_iter().map(|entry| {
            // IPVS does not know what was refused.
            let counted = Counters { active: entry.active.into(), total: entry.total, refused: 0 };
            ((*vip, entry.address), counted)
        }));
    }
    Ok(found)
}

impl Dataplane for IpvsDataplane {
    const KIND: DataplaneKind = DataplaneKind::Ipvs;
    type Native = IpvsState;
    type Change = Change;

    fn observe(&mut self, desired: &DesiredState) -> Result<IpvsState, DataplaneError> {
        let surroundings = self.surroundings(desired)?;
        let mut state = surroundings.state();
        self.claimed.extend(&state.marks);
        self.desired.clone_from(desired);
        for service in &desired.services {
            let vip = service.vip;
            let Some(held) = observe::service(&mut self.ipvs, vip)? else {
                self.losses.absent(vip);
                continue;
            };
            match observe::owner(service, &held, &self.claimed) {
                Owner::Other => _ = state.foreign.insert(vip, held),
                owner => {
                    if owner == Owner::Nobody {
                        tracing::info!(%vip, service = %held, "taking over an IPVS service that nobody owns");
                        self.claimed.insert(vip);
                    }
                    self.losses.present(vip);
                    state.services.insert(vip, held);
                }
            }
        }
        let wanted: BTreeSet<_> = desired.services.iter().map(|service| service.vip).collect();
        for vip in self.claimed.difference(&wanted).copied().collect::<Vec<_>>() {
            match observe::service(&mut self.ipvs, vip)? {
                Some(held) => _ = state.services.insert(vip, held),
                None => _ = self.claimed.remove(&vip),
            }
        }
        Ok(state)
    }

    fn lower(&self, desired: &DesiredState) -> Result<IpvsState, Unsupported> {
        Ok(native::lower(desired, self.options.scope, self.intake))
    }

    fn diff(observed: &IpvsState, wanted: &IpvsState) -> Vec<Change> {
        change::diff(observed, wanted)
    }

    fn subject(change: &Change) -> Option<SocketAddr> {
        change.subject()
    }

    fn apply(&mut self, change: &Change) -> Result<(), DataplaneError> {
        apply::apply(self, change)
    }

    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        if !self.can_end_sockets {
            return Ok(Evicted::default());
        }
        evict::evict((&mut self.severed, &mut self.elders), self.options.scope, evictions)
    }

    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        counters(&mut self.ipvs, &self.claimed)
    }

    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        inspect::inspect(self)
    }

    fn settle(&mut self) -> Result<(), DataplaneError> {
        Ok(())
    }

    fn resync(&self) -> Duration {
        RESYNC
    }

    fn quiesce(&mut self) -> Result<(), DataplaneError> {
        self.intake = Intake::Closed;
        apply::close_intake(self)
    }

    fn resume(&mut self) {
        self.intake = Intake::Open;
    }

    fn remove(&mut self) -> Result<(), DataplaneError> {
        self.surroundings = None;
        for what in remove::remove(&self.options.state_dir)? {
            tracing::info!(what, "removed");
        }
        self.claimed.clear();
        Ok(())
    }
}
