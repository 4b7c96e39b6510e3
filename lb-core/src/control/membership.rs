//! Who belongs to a service: what the config says, changed by what an operator did since, and what the cluster lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::{Config, ServiceConfig},
    model::{Admin, BackendKey, MAX_BACKENDS, ServiceName, Source},
    state::{BackendState, RuntimeChange, State},
};

/// One backend that belongs to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its real address.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u16,
    /// Where it comes from.
    pub source: Source,
    /// The operator's intent.
    pub admin: Admin,
    /// When the connections of a draining backend are ended.
    pub drain_until: Option<Timestamp>,
    /// The cluster has a list of its apiservers, and it is not in it.
    pub unlisted: bool,
}

/// What the cluster's own list says now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The list, since an apiserver that is up has told it; before that nobody is known not to be in it.
    pub told: Option<BTreeSet<SocketAddr>>,
    /// Nobody is up: whoever was listed lately may be back before the list can be read again.
    pub stranded: bool,
}

/// So long an apiserver that is not listed any more is tried when nobody else is up.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

impl Member {
    fn new(address: SocketAddr, weight: u16, source: Source, kept: BackendState) -> Self {
        let drain_until = kept.drain_until.filter(|_| kept.admin == Admin::Draining);
        Self { address, weight, source, admin: kept.admin, drain_until, unlisted: false }
    }
}

/// The members of a service, in the order of the config, then those added at run time, then those that the cluster lists.
///
/// Those of the config stay, whatever the list says: a list can be wrong, and they are the way back then. Of the others
/// those stay that are listed, or until the first list those that were.
pub fn members(service: &ServiceConfig, state: &State, listing: &Listing) -> Vec<Member> {
    let mut members = named(service, state);
    let known: BTreeSet<_> = members.iter().map(|member| member.address).collect();
    let removed = |address| {
        let key = BackendKey { service: service.name.clone(), address };
        matches!(state.get(&key).runtime, Some(RuntimeChange { weight: None, .. }))
    };
    let remembered = state.listed.get(&service.name).into_iter().flat_map(BTreeMap::keys).copied();
    let wanted = |address: &SocketAddr| match &listing.told {
        Some(told) => told.contains(address) || listing.stranded,
        None => true,
    };
    let found = remembered.filter(|address| service.discovery.is_some() && wanted(address));
    for address in found.filter(|address| !known.contains(address) && !removed(*address)) {
        let key = BackendKey { service: service.name.clone(), address };
        members.push(Member::new(address, 1, Source::Discovery, state.get(&key)));
    }
    if let Some(told) = &listing.told {
        for member in members.iter_mut().filter(|member| member.source != Source::Runtime) {
            member.unlisted = !told.contains(&member.address);
        }
    }
    members.truncate(MAX_BACKENDS);
    members
}

/// Puts down a list: who is in it, and when; and forgets who was in none for long.
pub fn note(state: &mut State, service: &ServiceName, listed: &BTreeSet<SocketAddr>, now: Timestamp) {
    let known = state.listed.entry(service.clone()).or_default();
    known.extend(listed.iter().map(|address| (*address, now)));
    known.retain(|_, last| now.duration_since(*last) < REMEMBERED);
    while known.len() > MAX_BACKENDS {
        let Some(oldest) = known.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address) else {
            break;
        };
        known.remove(&oldest);
    }
}

/// Whom the config and the operator name.
fn named(service: &ServiceConfig, state: &State) -> Vec<Member> {
    let kept = |address| state.get(&BackendKey { service: service.name.clone(), address });
    let configured = service.backends.iter().filter_map(|backend| {
        let kept = kept(backend.address);
        let weight = match kept.runtime {
            Some(change) if change.config == Some(backend.weight) => change.weight?,
            Some(_) | None => backend.weight,
        };
        Some(Member::new(backend.address, weight, Source::Config, kept))
    });
    let added = state.services.get(&service.name).into_iter().flatten().filter_map(|(address, kept)| {
        match kept.runtime {
            Some(RuntimeChange { weight: Some(weight), config: None })
                if configured_weight(service, *address).is_none() =>
            {
                Some(Member::new(*address, weight, Source::Runtime, *kept))
            }
            Some(_) | None => None,
        }
    });
    configured.chain(added).collect()
}

/// The weight that the config gives a backend; `None`: it does not name it.
pub fn configured_weight(service: &ServiceConfig, address: SocketAddr) -> Option<u16> {
    service.backends.iter().find(|b| b.address == address).map(|b| b.weight)
}

/// What is kept, without what the config has overruled and without what nobody names any more: an intent for a
/// backend that left must not wait for it to come back.
pub fn prune(config: &Config, state: &State) -> State {
    let mut pruned = State::default();
    for service in &config.services {
        if let Some(listed) = state.listed.get(&service.name).filter(|_| service.discovery.is_some()) {
            pruned.listed.insert(service.name.clone(), listed.clone());
        }
        for (address, kept) in state.services.get(&service.name).into_iter().flatten() {
            let configured = configured_weight(service, *address);
            let mut kept = *kept;
            kept.runtime = kept.runtime.filter(|change| change.config == configured);
            let listed = pruned.listed.get(&service.name).is_some_and(|listed| listed.contains_key(address));
            if configured.is_some() || kept.runtime.is_some() || listed {
                pruned.set(&BackendKey { service: service.name.clone(), address: *address }, kept);
            }
        }
    }
    pruned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Overrides},
        state::BackendState,
    };

    fn config(backends: &str) -> Config {
        let text =
            format!("services: [{{name: apiserver, vip: '10.103.97.2:6443', backends: [{backends}]}}]");
        config::load(Some(("test", &text)), &Overrides::default()).unwrap()
    }

    fn key(address: &str) -> BackendKey {
        BackendKey { service: "apiserver".parse().unwrap(), address: address.parse().unwrap() }
    }

    fn kept(address: &str, runtime: Option<RuntimeChange>, admin: Admin) -> State {
        let mut state = State::default();
        state.set(&key(address), BackendState { admin, runtime, ..BackendState::default() });
        state
    }

    fn named(config: &Config, state: &State) -> Vec<(String, u16, Source)> {
        let members = members(&config.services[0], state, &Listing::default());
        members.iter().map(|m| (m.address.to_string(), m.weight, m.source)).collect()
    }

    const ONE: &str = "'10.0.0.1:6443'";

    #[test]
    fn a_backend_added_at_run_time_comes_after_the_configs() {
        let change = RuntimeChange { weight: Some(3), config: None };
        let state = kept("10.0.0.9:6443", Some(change), Admin::Active);
        assert_eq!(
            named(&config(ONE), &state),
            [("10.0.0.1:6443".into(), 1, Source::Config), ("10.0.0.9:6443".into(), 3, Source::Runtime)]
        );
    }

    #[test]
    fn a_removal_holds_until_the_config_changes_that_backend() {
        let change = RuntimeChange { weight: None, config: Some(1) };
        let state = kept("10.0.0.1:6443", Some(change), Admin::Active);
        assert_eq!(named(&config(ONE), &state), []);
        let changed = config("{address: '10.0.0.1:6443', weight: 2}");
        assert_eq!(named(&changed, &state), [("10.0.0.1:6443".into(), 2, Source::Config)]);
        assert_eq!(prune(&changed, &state), State::default());
    }

    #[test]
    fn an_addition_ends_when_the_config_names_the_backend() {
        let change = RuntimeChange { weight: Some(7), config: None };
        let state = kept("10.0.0.1:6443", Some(change), Admin::Active);
        assert_eq!(named(&config(ONE), &state), [("10.0.0.1:6443".into(), 1, Source::Config)]);
    }

    #[test]
    fn an_intent_goes_with_its_backend() {
        let state = kept("10.0.0.2:6443", None, Admin::Disabled);
        assert_eq!(prune(&config(ONE), &state), State::default());
        let state = kept("10.0.0.1:6443", None, Admin::Disabled);
        assert_eq!(prune(&config(ONE), &state), state);
    }
}
