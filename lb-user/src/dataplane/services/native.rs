//! Services and who serves them as the kernel's tables hold it, as data, and the way from one state to another. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

use lb_core::{
    desired::{DesiredBackend, DesiredService, DesiredState, home},
    model::{Policy, ServiceName},
};

use crate::dataplane::HeldService;

/// Services under their VIPs.
pub type Services = BTreeMap<SocketAddr, TableService>;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableService {
    /// Its name.
    pub name: ServiceName,
    /// The backends that serve.
    pub serving: Serving,
    /// Every backend that is counted, serving or not.
    pub members: BTreeSet<SocketAddr>,
}

/// The backends that serve, and how one of them is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// How one is chosen.
    pub policy: Choice,
    /// Each with its weight, never 0. Empty: connects are refused at once.
    pub weights: BTreeMap<SocketAddr, u32>,
    /// Those that stand by for connections that one of them does not answer.
    pub reserve: BTreeSet<SocketAddr>,
}

/// The policies that the kernel programs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By chance.
    Random,
    /// In turn.
    RoundRobin,
    /// The one with the fewest established connections for its weight.
    LeastConn,
}

impl From<TableService> for HeldService {
    fn from(service: TableService) -> Self {
        let policy = match service.serving.policy {
            Choice::Random => Policy::Random,
            Choice::RoundRobin => Policy::RoundRobin,
            Choice::LeastConn => Policy::LeastConn,
        };
        let TableService { name, serving, members } = service;
        Self { name: Some(name), policy, weights: serving.weights, members }
    }
}

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceChange {
    /// Make a service; its VIP is inserted last.
    Add(SocketAddr, TableService),
    /// Give a service another name.
    Rename(SocketAddr, ServiceName),
    /// Make a record for a backend that is to be counted.
    AddMember(SocketAddr, SocketAddr),
    /// Replace the serving set, atomically.
    SetServing(SocketAddr, Serving),
    /// Free a record. Its backend serves no longer.
    RemoveMember(SocketAddr, SocketAddr),
    /// Take a service away: its VIP first.
    Remove(SocketAddr),
}

impl ServiceChange {
    /// The VIP that it is about.
    pub fn vip(&self) -> SocketAddr {
        match self {
            Self::Add(vip, _)
            | Self::Rename(vip, _)
            | Self::AddMember(vip, _)
            | Self::SetServing(vip, _)
            | Self::RemoveMember(vip, _)
            | Self::Remove(vip) => *vip,
        }
    }
}

impl fmt::Display for ServiceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(vip, service) => {
                write!(f, "add service {} at {vip}: {}", service.name, service.serving)
            }
            Self::Rename(vip, name) => write!(f, "rename the service at {vip} to {name}"),
            Self::AddMember(vip, member) => write!(f, "count connections of {vip} to {member}"),
            Self::SetServing(vip, serving) => write!(f, "serve {vip} by {serving}"),
            Self::RemoveMember(vip, member) => write!(f, "count connections of {vip} to {member} no longer"),
            Self::Remove(vip) => write!(f, "remove the service at {vip}"),
        }
    }
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weights.is_empty() {
            return f.write_str("nobody (connects are refused)");
        }
        let weights: Vec<_> = self.weights.iter().map(|(b, w)| format!("{b} (weight {w})")).collect();
        f.write_str(&weights.join(", "))
    }
}

/// What the tables of the node with this name should hold.
pub fn lower(desired: &DesiredState, node: &str) -> Services {
    desired.services.iter().map(|s| (s.vip, lower_service(s, node))).collect()
}

fn lower_service(service: &DesiredService, node: &str) -> TableService {
    let home = match service.policy {
        Policy::Sticky => home(node, &service.serving),
        Policy::Random | Policy::RoundRobin | Policy::LeastConn => None,
    };
    let policy = match service.policy {
        // Of one there is nothing to choose.
        Policy::Random | Policy::Sticky => Choice::Random,
        Policy::RoundRobin => Choice::RoundRobin,
        Policy::LeastConn => Choice::LeastConn,
    };
    let serves = |b: &&DesiredBackend| b.weight > 0 && home.is_none_or(|home| home == b.address);
    let weights: BTreeMap<_, _> =
        service.serving.iter().filter(serves).map(|b| (b.address, b.weight)).collect();
    let stands_by = service.serving.iter().map(|b| b.address).chain(service.reserve.iter().copied());
    let reserve = match weights.is_empty() {
        true => BTreeSet::new(),
        false => stands_by.filter(|address| !weights.contains_key(address)).collect(),
    };
    let members = service.members.iter().chain(weights.keys()).copied().collect();
    TableService { name: service.name.clone(), serving: Serving { policy, weights, reserve }, members }
}

/// The mutations from `observed` to `wanted`, in order: what comes, then what goes.
pub fn diff(observed: &Services, wanted: &Services) -> Vec<ServiceChange> {
    let mut changes = Vec::new();
    for (vip, service) in wanted {
        match observed.get(vip) {
            Some(old) => diff_service(*vip, old, service, &mut changes),
            None => changes.push(ServiceChange::Add(*vip, service.clone())),
        }
    }
    let gone = observed.keys().filter(|vip| !wanted.contains_key(vip));
    changes.extend(gone.copied().map(ServiceChange::Remove));
    changes
}

fn diff_service(vip: SocketAddr, old: &TableService, new: &TableService, changes: &mut Vec<ServiceChange>) {
    if old.name != new.name {
        changes.push(ServiceChange::Rename(vip, new.name.clone()));
    }
    changes.extend(new.members.difference(&old.members).map(|m| ServiceChange::AddMember(vip, *m)));
    if old.serving != new.serving {
        changes.push(ServiceChange::SetServing(vip, new.serving.clone()));
    }
    changes.extend(old.members.difference(&new.members).map(|m| ServiceChange::RemoveMember(vip, *m)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 0, n], 6443))
    }

    fn state(vip: u8, serving: &[(u8, u32)], members: &[u8]) -> Services {
        let weights = serving.iter().map(|(n, w)| (at(*n), *w)).collect();
        let service = TableService {
            name: "apiserver".parse().unwrap(),
            serving: Serving { policy: Choice::Random, weights, reserve: BTreeSet::new() },
            members: members.iter().map(|n| at(*n)).collect(),
        };
        BTreeMap::from([(at(vip), service)])
    }

    #[test]
    fn what_is_as_it_should_be_needs_no_change() {
        let state = state(100, &[(1, 1)], &[1, 2]);
        assert_eq!(diff(&state, &state), []);
    }

    #[test]
    fn a_backend_that_is_replaced_comes_before_the_old_one_goes() {
        let changes = diff(&state(100, &[(1, 1)], &[1]), &state(100, &[(2, 1)], &[2]));
        assert!(matches!(
            changes[..],
            [ServiceChange::AddMember(_, new), ServiceChange::SetServing(..), ServiceChange::RemoveMember(_, old)]
                if new == at(2) && old == at(1)
        ));
    }

    #[test]
    fn a_service_that_moves_to_another_vip_is_made_before_the_old_one_goes() {
        let changes = diff(&state(100, &[(1, 1)], &[1]), &state(101, &[(1, 1)], &[1]));
        assert!(matches!(
            changes[..],
            [ServiceChange::Add(new, _), ServiceChange::Remove(old)] if new == at(101) && old == at(100)
        ));
    }

    #[test]
    fn sticky_serves_by_the_nodes_home_and_counts_all() {
        let at = |n| DesiredBackend { address: at(n), weight: 1 };
        let mut service = DesiredService {
            name: "apiserver".parse().unwrap(),
            vip: self::at(100),
            policy: Policy::Sticky,
            serving: vec![at(1), at(2), at(3)],
            members: [1, 2, 3].map(self::at).to_vec(),
            reserve: BTreeSet::new(),
            severed: BTreeSet::new(),
        };
        let home = home("node", &service.serving).unwrap();
        let lowered = lower_service(&service, "node");
        assert_eq!(lowered.serving.weights.into_keys().collect::<Vec<_>>(), [home]);
        assert_eq!(lowered.members.len(), 3);
        assert_eq!(lowered.serving.reserve.len(), 2, "the others stand by");
        service.serving.clear();
        assert!(lower_service(&service, "node").serving.weights.is_empty(), "nobody is nobody's home");
    }
}
