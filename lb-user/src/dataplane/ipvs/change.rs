//! The way from one state to another. Pure.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{
    kernel::{lvscare::Leftover, nft::Table, sysctl::Sysctl},
    native::{Destination, IpvsState, Service},
    scheduler::Scheduling,
};

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave a VIP to the program whose service is there. It is an error to apply it.
    Refuse(SocketAddr, Service),
    /// Replace the nftables table, which also marks services as ours.
    SetTable(Table),
    /// Make a service with its destinations.
    AddService(SocketAddr, Service),
    /// Choose destinations in another way.
    SetScheduling(SocketAddr, Scheduling),
    /// Make a destination.
    AddDestination(SocketAddr, SocketAddr, Destination),
    /// Give a destination another share.
    SetDestination(SocketAddr, SocketAddr, Destination),
    /// Take a destination away, and let nothing more through to it.
    RemoveDestination(SocketAddr, SocketAddr),
    /// Lead a VIP's address to this node itself, with a source for the connections that it makes.
    SetRoute(SocketAddr, Option<IpAddr>),
    /// Take over an address that lvscare put on a device.
    TakeOver(SocketAddr, Leftover),
    /// Take a service away.
    RemoveService(SocketAddr),
    /// Lead an address to this node no longer.
    RemoveRoute(IpAddr),
    /// Take the nftables table away.
    RemoveTable,
    /// Change one of IPVS's settings.
    SetSysctl(Sysctl, u32),
}

impl Change {
    /// The VIP that it is about.
    pub fn subject(&self) -> Option<SocketAddr> {
        match self {
            Self::Refuse(vip, _)
            | Self::AddService(vip, _)
            | Self::SetScheduling(vip, _)
            | Self::AddDestination(vip, ..)
            | Self::SetDestination(vip, ..)
            | Self::RemoveDestination(vip, _)
            | Self::SetRoute(vip, _)
            | Self::TakeOver(vip, _)
            | Self::RemoveService(vip) => Some(*vip),
            Self::SetTable(_) | Self::RemoveRoute(_) | Self::RemoveTable | Self::SetSysctl(..) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(vip, service) => {
                write!(f, "leave {vip} alone: it belongs to another program's IPVS service ({service})")
            }
            Self::SetTable(table) => {
                let vips: Vec<_> = table.vips.iter().map(ToString::to_string).collect();
                write!(f, "set the nftables table of scope {} for {}", table.scope, vips.join(", "))?;
                table.refused.iter().try_for_each(|vip| write!(f, ", refuse {vip}"))
            }
            Self::AddService(vip, service) => write!(f, "add the service at {vip}: {service}"),
            Self::SetScheduling(vip, scheduling) => write!(f, "schedule {vip} by {scheduling}"),
            Self::AddDestination(vip, address, destination) => {
                write!(f, "serve {vip} by {address} (weight {}) too", destination.weight)
            }
            Self::SetDestination(vip, address, destination) => {
                write!(f, "serve {vip} by {address} with weight {}", destination.weight)
            }
            Self::RemoveDestination(vip, address) => write!(f, "serve {vip} by {address} no longer"),
            Self::SetRoute(vip, Some(source)) => {
                write!(f, "route {} to this node, source {source}", vip.ip())
            }
            Self::SetRoute(vip, None) => write!(f, "route {} to this node", vip.ip()),
            Self::TakeOver(_, leftover) => write!(f, "take over {leftover}"),
            Self::RemoveService(vip) => write!(f, "remove the service at {vip}"),
            Self::RemoveRoute(ip) => write!(f, "remove the route to {ip}"),
            Self::RemoveTable => f.write_str("remove the nftables table"),
            Self::SetSysctl(sysctl, value) => write!(f, "set {sysctl} to {value}"),
        }
    }
}

/// The mutations from `observed` to `wanted`, in order. A service is marked as ours before it exists, and as long as it
/// does; it exists before its route; what comes precedes what goes. Settings come last: where they cannot be changed,
/// everything else works all the same.
pub fn diff(observed: &IpvsState, wanted: &IpvsState) -> Vec<Change> {
    let refused = |vip: &SocketAddr| observed.foreign.contains_key(vip);
    let kept: BTreeSet<_> = wanted.services.keys().filter(|vip| !refused(vip)).copied().collect();
    let going: BTreeSet<_> =
        observed.services.keys().filter(|vip| !wanted.services.contains_key(vip)).copied().collect();
    let table = |vips: BTreeSet<SocketAddr>| {
        let table = wanted.table.as_ref()?;
        let refused = table.refused.intersection(&vips).copied().collect();
        Some(Table { scope: table.scope, vips, refused })
    };

    let mut changes: Vec<_> =
        observed.foreign.iter().map(|(vip, service)| Change::Refuse(*vip, service.clone())).collect();
    let meanwhile =
        table(&kept | &going).filter(|table| !kept.is_empty() && observed.table.as_ref() != Some(table));
    changes.extend(meanwhile.clone().map(Change::SetTable));
    for vip in &kept {
        diff_service(*vip, observed.services.get(vip), wanted.services.get(vip), &mut changes);
    }
    diff_routes(observed, &kept, &mut changes);
    let vip_at = |ip| kept.iter().find(|vip| vip.ip() == ip);
    let leftovers = observed.leftovers.iter().filter_map(|left| Some((vip_at(left.vip())?, left.clone())));
    changes.extend(leftovers.map(|(vip, left)| Change::TakeOver(*vip, left)));
    changes.extend(going.iter().copied().map(Change::RemoveService));
    let routed: BTreeSet<_> = kept.iter().map(SocketAddr::ip).collect();
    let stale = observed.routes.keys().filter(|ip| !routed.contains(ip));
    changes.extend(stale.copied().map(Change::RemoveRoute));
    changes.extend(final_table(observed, table(kept.clone()), kept.is_empty(), meanwhile));
    if !kept.is_empty() {
        diff_sysctls(observed, wanted, &mut changes);
    }
    changes
}

fn diff_service(vip: SocketAddr, old: Option<&Service>, new: Option<&Service>, changes: &mut Vec<Change>) {
    let Some(new) = new else { return };
    let Some(old) = old else {
        changes.push(Change::AddService(vip, new.clone()));
        return;
    };
    if old.scheduling != new.scheduling {
        changes.push(Change::SetScheduling(vip, new.scheduling.clone()));
    }
    let mut fewer = Vec::new();
    for (address, destination) in &new.destinations {
        match old.destinations.get(address) {
            None => changes.push(Change::AddDestination(vip, *address, *destination)),
            Some(old) if old == destination => {}
            Some(old) if old.weight < destination.weight => {
                changes.push(Change::SetDestination(vip, *address, *destination));
            }
            Some(_) => fewer.push(Change::SetDestination(vip, *address, *destination)),
        }
    }
    changes.append(&mut fewer);
    let gone = old.destinations.keys().filter(|address| !new.destinations.contains_key(address));
    changes.extend(gone.map(|address| Change::RemoveDestination(vip, *address)));
}

/// One route for each address, whatever the number of its ports. A source that is still good stays: connections of the
/// node's own depend on it. Without any suggestion, as while a link is down, so does whatever is there.
fn diff_routes(observed: &IpvsState, kept: &BTreeSet<SocketAddr>, changes: &mut Vec<Change>) {
    let mut seen = BTreeSet::new();
    for vip in kept.iter().filter(|vip| seen.insert(vip.ip())) {
        let sources = observed.sources.get(&vip.ip()).map_or(&[][..], Vec::as_slice);
        let best = sources.first().copied();
        match observed.routes.get(&vip.ip()) {
            None => changes.push(Change::SetRoute(*vip, best)),
            Some(placed) => {
                let good = placed.is_some_and(|source| sources.contains(&source));
                if !good && best.is_some() {
                    changes.push(Change::SetRoute(*vip, best));
                }
            }
        }
    }
}

fn final_table(
    observed: &IpvsState,
    last: Option<Table>,
    nothing_kept: bool,
    meanwhile: Option<Table>,
) -> Option<Change> {
    let in_force = meanwhile.as_ref().or(observed.table.as_ref());
    match last {
        Some(table) if !nothing_kept => (in_force != Some(&table)).then_some(Change::SetTable(table)),
        Some(_) | None => {
            (observed.table.is_some() || !observed.marks.is_empty()).then_some(Change::RemoveTable)
        }
    }
}

fn diff_sysctls(observed: &IpvsState, wanted: &IpvsState, changes: &mut Vec<Change>) {
    let differs = |sysctl: &Sysctl, value: u32| observed.sysctls.get(sysctl).is_some_and(|old| *old != value);
    let wrong = wanted.sysctls.iter().filter(|(sysctl, value)| differs(sysctl, **value));
    changes.extend(wrong.map(|(sysctl, value)| Change::SetSysctl(*sysctl, *value)));
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
