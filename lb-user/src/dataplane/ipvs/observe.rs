//! What the kernel holds, read piece by piece.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use lb_core::desired::{DesiredService, DesiredState};

use super::{
    error::{failed, nft_failed},
    foreign::{self, Owner},
    kernel::{
        genl::Ipvs,
        lvscare::{self, Leftover},
        nft::{self, Table},
        route,
        sysctl::{self, Sysctl},
    },
    native::{IpvsState, Service},
};
use crate::dataplane::DataplaneError;

/// How long what surrounds IPVS is taken as it was last seen, unless we change it: reading it costs more than reading
/// the services, which other programs are known to delete.
const FRESH: Duration = Duration::from_secs(1);

/// Exists while IPVS does, also where the kernel would load it for the asking.
const LOADED: &str = "/proc/thread-self/net/ip_vs";

/// Whether the kernel has IPVS already.
pub fn is_loaded() -> bool {
    Path::new(LOADED).exists()
}

/// What surrounds IPVS.
#[derive(Clone, Debug)]
pub struct Surroundings {
    seen: Instant,
    desired: DesiredState,
    pub(super) routes: BTreeMap<IpAddr, Option<IpAddr>>,
    sources: BTreeMap<IpAddr, Vec<IpAddr>>,
    table: Option<Table>,
    pub(super) marks: BTreeSet<SocketAddr>,
    pub(super) sysctls: BTreeMap<Sysctl, u32>,
    leftovers: Vec<Leftover>,
}

impl Surroundings {
    /// Reads it all.
    pub fn read(desired: &DesiredState) -> Result<Self, DataplaneError> {
        let vips: BTreeSet<_> = desired.services.iter().map(|service| service.vip.ip()).collect();
        Ok(Self {
            seen: Instant::now(),
            desired: desired.clone(),
            routes: route::observe().map_err(failed("list", "the routes to the VIPs"))?,
            sources: all_sources(&vips, desired)?,
            table: nft::observe().map_err(nft_failed("read"))?,
            marks: nft::owned().map_err(nft_failed("read the sets of"))?,
            sysctls: sysctl::observe().map_err(failed("read", "net.ipv4.vs"))?,
            leftovers: lvscare::leftovers(&vips).map_err(failed("look at", "the interface lvscare"))?,
        })
    }

    /// Whether it may be taken as it is.
    pub fn is_fresh(&self, desired: &DesiredState) -> bool {
        self.seen.elapsed() < FRESH && self.desired == *desired
    }

    /// As a state without services.
    pub fn state(&self) -> IpvsState {
        IpvsState {
            routes: self.routes.clone(),
            sources: self.sources.clone(),
            table: self.table.clone(),
            marks: self.marks.clone(),
            sysctls: self.sysctls.clone(),
            leftovers: self.leftovers.clone(),
            ..IpvsState::default()
        }
    }
}

fn all_sources(
    vips: &BTreeSet<IpAddr>,
    desired: &DesiredState,
) -> Result<BTreeMap<IpAddr, Vec<IpAddr>>, DataplaneError> {
    vips.iter().map(|ip| Ok((*ip, sources(*ip, desired)?))).collect()
}

/// The sources that the node's own connections to a VIP may have: those that the kernel would use towards the backends
/// that take new connections and are not on the node itself; where there are none, towards any.
fn sources(vip: IpAddr, desired: &DesiredState) -> Result<Vec<IpAddr>, DataplaneError> {
    let services = || desired.services.iter().filter(|service| service.vip.ip() == vip);
    let serving = services().flat_map(|service| service.serving.iter().map(|backend| backend.address.ip()));
    let mut remote = Vec::new();
    for backend in serving {
        if !route::is_local(backend).map_err(failed("look up", backend.to_string()))? {
            remote.push(backend);
        }
    }
    let found = towards(remote)?;
    if !found.is_empty() {
        return Ok(found);
    }
    towards(services().flat_map(|service| service.members.iter().map(SocketAddr::ip)))
}

fn towards(backends: impl IntoIterator<Item = IpAddr>) -> Result<Vec<IpAddr>, DataplaneError> {
    let mut found = Vec::new();
    for backend in backends {
        let source =
            route::source_towards(backend).map_err(failed("find the route to", backend.to_string()))?;
        found.extend(source.filter(|source| !found.contains(source)));
    }
    Ok(found)
}

/// The service at a VIP with its destinations.
pub fn service(ipvs: &mut Ipvs, vip: SocketAddr) -> Result<Option<Service>, DataplaneError> {
    let read = |error| failed("read the IPVS service at", vip.to_string())(error);
    let Some(entry) = ipvs.service(vip).map_err(read)? else { return Ok(None) };
    let destinations = ipvs.destinations(vip).map_err(read)?;
    let destinations = destinations.into_iter().map(|entry| (entry.address, entry.destination));
    Ok(Some(Service { scheduling: entry.scheduling, destinations: destinations.collect() }))
}

/// The VIPs that are ours, whoever of us made their services.
pub fn claims(
    ipvs: &mut Ipvs,
    marks: &BTreeSet<SocketAddr>,
    routes: &BTreeMap<IpAddr, Option<IpAddr>>,
) -> Result<BTreeSet<SocketAddr>, DataplaneError> {
    if foreign::unmarked(marks, routes).is_empty() {
        return Ok(marks.clone());
    }
    let services = ipvs.services().map_err(failed("list", "IPVS services"))?;
    Ok(foreign::claimed(marks, routes, services.iter().map(|service| &service.vip)))
}

/// Whose the service at a VIP is that the config names.
pub fn owner(service: &DesiredService, held: &Service, claimed: &BTreeSet<SocketAddr>) -> Owner {
    let serving = service.serving.iter().map(|backend| backend.address);
    foreign::owner(service.vip, held, claimed, &service.members.iter().copied().chain(serving).collect())
}
