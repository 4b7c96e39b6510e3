//! The IPVS dataplane's state as data, and what it should be. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_core::{
    desired::{DesiredService, DesiredState},
    model::Scope,
};

use super::{
    kernel::{
        lvscare::Leftover,
        nft::Table,
        sysctl::{self, Sysctl},
    },
    scheduler::Scheduling,
};
use crate::dataplane::HeldService;

/// What the kernel holds, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsState {
    /// Our services, each under its VIP.
    pub services: BTreeMap<SocketAddr, Service>,
    /// Services of other programs at VIPs that should be ours.
    pub foreign: BTreeMap<SocketAddr, Service>,
    /// The addresses that are led to this node itself, and what their connections have as source.
    pub routes: BTreeMap<IpAddr, Option<IpAddr>>,
    /// The sources that a route may have, the best first. Only known of what is observed.
    pub sources: BTreeMap<IpAddr, Vec<IpAddr>>,
    /// The nftables table, where it is whole.
    pub table: Option<Table>,
    /// The VIPs that are in our nftables sets, even where the table is not whole.
    pub marks: BTreeSet<SocketAddr>,
    /// IPVS's settings in this network namespace; one that the kernel does not have is missing.
    pub sysctls: BTreeMap<Sysctl, u32>,
    /// What lvscare left that stands in the way.
    pub leftovers: Vec<Leftover>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How a destination is chosen.
    pub scheduling: Scheduling,
    /// Each destination under its address. None that takes anybody: connects are refused at once.
    pub destinations: BTreeMap<SocketAddr, Destination>,
}

/// One destination of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its share of new connections; 0: none, those that it has go on.
    pub weight: u32,
    /// How packets get there.
    pub forwarding: Forwarding,
}

/// How packets get to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Its address takes the VIP's place, without a limit on the number of connections.
    Masquerade,
    /// In any other way, which is not ours.
    Other,
}

impl Destination {
    /// One that takes its share of new connections.
    pub fn serving(weight: u32) -> Self {
        Self { weight, forwarding: Forwarding::Masquerade }
    }
}

impl Service {
    /// Whether none of its destinations takes anybody.
    pub fn refuses(&self) -> bool {
        self.destinations.values().all(|destination| destination.weight == 0)
    }

    /// As every dataplane tells it. The kernel has no place for a name.
    pub fn held(&self) -> HeldService {
        let weights = self.destinations.iter().filter(|(_, d)| d.weight > 0);
        HeldService {
            name: None,
            policy: self.scheduling.policy(),
            weights: weights.map(|(address, d)| (*address, d.weight)).collect(),
            members: self.destinations.keys().copied().collect(),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.scheduling)?;
        if self.destinations.is_empty() {
            return f.write_str("nobody (connects are refused)");
        }
        let shares: Vec<_> =
            self.destinations.iter().map(|(address, d)| format!("{address} (weight {})", d.weight)).collect();
        f.write_str(&shares.join(", "))
    }
}

/// Whether new connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// They are.
    Open,
    /// Only those that were made before go on.
    Closed,
}

/// What the kernel should hold. `routes` only says where one should be: its source depends on the node.
pub fn lower(desired: &DesiredState, scope: Scope, intake: Intake) -> IpvsState {
    let services: BTreeMap<_, _> =
        desired.services.iter().map(|s| (s.vip, lower_service(s, intake))).collect();
    if services.is_empty() {
        return IpvsState::default();
    }
    let vips: BTreeSet<_> = services.keys().copied().collect();
    let refused = services.iter().filter(|(_, service)| service.refuses()).map(|(vip, _)| *vip).collect();
    IpvsState {
        routes: vips.iter().map(|vip| (vip.ip(), None)).collect(),
        marks: vips.clone(),
        table: Some(Table { scope, vips, refused }),
        sysctls: sysctl::wanted(scope),
        services,
        ..IpvsState::default()
    }
}

fn lower_service(service: &DesiredService, intake: Intake) -> Service {
    let mut destinations: BTreeMap<_, _> = service
        .members
        .iter()
        .filter(|address| !service.severed.contains(address))
        .map(|address| (*address, Destination::serving(0)))
        .collect();
    for backend in &service.serving {
        let weight = match intake {
            Intake::Open => backend.weight,
            Intake::Closed => 0,
        };
        destinations.insert(backend.address, Destination::serving(weight));
    }
    Service { scheduling: Scheduling::of(service.policy), destinations }
}
