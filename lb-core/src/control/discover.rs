//! What the cluster's own list of apiservers changes.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    Adopted, Controller, Effect, Now,
    membership::{self, Listing},
};
use crate::{
    config::ServiceConfig,
    discovery::{Judged, judge},
    model::{BackendKey, Health, ServiceName},
};

impl Controller {
    /// Takes a list as the truth, apart from what cannot be a backend.
    pub(super) fn listed(
        &mut self,
        now: Now,
        name: &ServiceName,
        listed: &BTreeSet<SocketAddr>,
        effects: &mut Vec<Effect>,
    ) {
        let config = self.config.clone();
        let Some(service) = config.services.iter().find(|s| s.name == *name && s.discovery.is_some()) else {
            return;
        };
        let vips = config.services.iter().map(|s| s.vip).collect();
        let known = self.state.listed.get(name).into_iter().flat_map(|l| l.keys()).copied().collect();
        let Judged { addresses, ignored } = judge(service, &vips, &known, listed);
        match ignored {
            Some(ignored) => _ = self.ignored.insert(name.clone(), format!("{name}: {ignored}")),
            None => _ = self.ignored.remove(name),
        }
        if addresses.is_empty() {
            return;
        }
        let before = self.state.clone();
        membership::note(&mut self.state, name, &addresses, now.wall);
        let listing = Listing { told: Some(addresses), stranded: false };
        let changed = self.listings.insert(name.clone(), listing.clone()) != Some(listing);
        if changed || before.listed.get(name).map(|l| l.len()) != self.state.listed.get(name).map(|l| l.len())
        {
            self.track_members(now, &Adopted::default(), effects);
            effects.push(Effect::Persist(self.state.clone()));
        }
    }

    /// Where nobody is up, those are tried too that were listed lately. They go on being tried until there is a new list.
    pub(super) fn notice_stranded(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let config = self.config.clone();
        let mut noticed = false;
        for service in config.services.iter().filter(|service| service.discovery.is_some()) {
            if self.is_stranded(service)
                && let Some(listing) = self.listings.get_mut(&service.name)
                && !listing.stranded
            {
                listing.stranded = true;
                noticed = true;
            }
        }
        if noticed {
            self.track_members(now, &Adopted::default(), effects);
        }
    }

    fn is_stranded(&self, service: &ServiceConfig) -> bool {
        !self
            .of_service(service)
            .any(|(_, tracked)| matches!(tracked.machine.health(), Health::Up | Health::Unknown))
    }

    /// What of the newest lists was left out, and why; for people.
    pub fn ignored(&self) -> impl Iterator<Item = &String> {
        self.ignored.values()
    }

    /// The backends of a service that are up: they may be asked for the list.
    pub fn up(&self, service: &ServiceName) -> BTreeSet<SocketAddr> {
        let of_it = self.backends.iter().filter(|(key, tracked)| key.service == *service && !tracked.leaving);
        let up = of_it.filter(|(_, tracked)| tracked.machine.health() == Health::Up);
        up.map(|(key, _)| key.address).collect()
    }

    /// Whether the cluster has listed a backend lately.
    pub(super) fn is_listed(&self, key: &BackendKey) -> bool {
        self.state.listed.get(&key.service).is_some_and(|listed| listed.contains_key(&key.address))
    }

    pub(super) fn listing(&self, service: &ServiceConfig) -> Listing {
        self.listings.get(&service.name).cloned().unwrap_or_default()
    }
}
