//! From verdicts to what the kernel should hold.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{Controller, Effect, Eviction, Now, Tracked, Which, track::Drain};
use crate::{
    config::ServiceConfig,
    desired::{
        Candidate, DesiredBackend, DesiredService, DesiredState, OutWhy, Ramp, Standing, ends_connections,
        grown, serving,
    },
    model::{Admin, BackendKey, OnDown},
};

impl Controller {
    /// Who serves, and whose connections are ended. Programs the kernel when that changed.
    pub(super) fn decide(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let config = self.config.clone();
        let mut services = Vec::with_capacity(config.services.len());
        let mut evict = Vec::new();
        for service in &config.services {
            let desired = self.decide_service(now, service, &mut evict);
            self.rebalance(now, service, &desired, &mut evict);
            services.push(desired);
        }
        let desired = DesiredState { services };
        let changed = self.programmed.as_deref() != Some(&desired);
        if changed || !evict.is_empty() {
            let desired = Arc::new(desired);
            self.programmed = Some(desired.clone());
            effects.push(Effect::Program { desired, evict });
        }
    }

    fn decide_service(
        &mut self,
        now: Now,
        service: &ServiceConfig,
        evict: &mut Vec<Eviction>,
    ) -> DesiredService {
        let keys: Vec<_> = self.of_service(service).map(|(key, _)| key.clone()).collect();
        let candidates: Vec<_> = keys.iter().filter_map(|key| self.candidate(key)).collect();
        let standings = serving(&candidates, service.prefer, service.on_all_down);
        let mut serving = Vec::new();
        let (mut reserve, mut severed) = (BTreeSet::new(), BTreeSet::new());
        for ((key, candidate), standing) in keys.iter().zip(&candidates).zip(standings) {
            let Some(tracked) = self.backends.get_mut(key) else { continue };
            tracked.standing = standing;
            tracked.ramp = service
                .slow_start
                .filter(|_| standing.is_serving())
                .and_then(|length| Ramp::at(now.instant, tracked.machine.recovered()?, length));
            if standing.is_serving() {
                serving.push((key.address, (candidate.weight, tracked.ramp)));
            }
            if standing == Standing::Out(OutWhy::LocalFirst) {
                reserve.insert(key.address);
            }
            let ends = ends_connections(candidate, standing, service.on_down);
            if ends {
                severed.insert(key.address);
            }
            let pair = (service.vip, key.address);
            if ends && !tracked.ended {
                evict.push(Eviction { pair, which: Which::All });
            }
            tracked.ended = ends;
            if let Some(since) = tracked.silence_to_free(now, service.on_down) {
                tracked.freed = Some(since);
                evict.push(Eviction { pair, which: Which::BegunSince(since) });
            }
        }
        let (addresses, weights): (Vec<_>, Vec<_>) = serving.into_iter().unzip();
        let weighed = addresses.into_iter().zip(grown(&weights));
        let serving = weighed.map(|(address, weight)| DesiredBackend { address, weight }).collect();
        let members = keys.into_iter().map(|key| key.address).collect();
        DesiredService {
            name: service.name.clone(),
            vip: service.vip,
            policy: service.policy,
            serving,
            reserve,
            members,
            severed,
        }
    }

    fn candidate(&self, key: &BackendKey) -> Option<Candidate> {
        let tracked = self.backends.get(key)?;
        let Tracked { member, machine, .. } = tracked;
        let admin = match (tracked.leaving, member.admin) {
            (false, admin) | (true, admin @ Admin::Disabled) => admin,
            (true, Admin::Active | Admin::Draining) => Admin::Draining,
        };
        Some(Candidate {
            address: key.address,
            weight: member.weight,
            admin,
            drained: tracked.drain == Drain::Over,
            health: machine.health(),
            returning: machine.is_returning(),
            adopted: machine.is_adopted(),
            ever_up: machine.ever_up() || self.state.get(key).last_up.is_some(),
            accepts_tcp: machine.accepts_tcp(),
            trusted: machine.trusted(),
            local: self.is_local(key.address),
            unlisted: member.unlisted,
        })
    }
}

impl Tracked {
    /// The silence during which connections were begun that wait in vain: others serve, so their retries find somebody.
    /// Once for each silence.
    fn silence_to_free(&self, now: Now, on_down: OnDown) -> Option<Instant> {
        let since = self.machine.frees_since(now.instant)?;
        let new = self.freed != Some(since);
        (new && on_down == OnDown::Reset && !self.standing.is_serving()).then_some(since)
    }
}
