//! Whom the controller watches: the members, and those who left while connections still hang on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    Adopted, Controller, Effect, Now, Pair, Tracked, denial::Denial, membership, membership::Member,
};
use crate::{
    config::ServiceConfig,
    desired::{OutWhy, Standing},
    health::Machine,
    model::{Admin, BackendKey, Health, Source},
    probe::ProbeTarget,
};

impl Controller {
    /// Begins to watch new members, gives known ones their new settings, and lets go of those who left once no
    /// connection hangs on them.
    pub(super) fn track_members(&mut self, now: Now, adopted: &Adopted, effects: &mut Vec<Effect>) {
        let config = self.config.clone();
        let mut present = BTreeSet::new();
        for service in &config.services {
            for member in membership::members(service, &self.state, &self.listing(service)) {
                let key = BackendKey { service: service.name.clone(), address: member.address };
                present.insert(key.clone());
                self.track(now, service, key, member, adopted, effects);
            }
            self.track_orphans(now, service, adopted, effects);
        }
        let services: BTreeSet<_> = config.services.iter().map(|s| &s.name).collect();
        let gone = |key: &BackendKey| !services.contains(&key.service);
        for key in self.backends.keys().filter(|key| gone(key)).cloned().collect::<Vec<_>>() {
            self.backends.remove(&key);
            effects.push(Effect::StopProber(key));
        }
        for (key, tracked) in &mut self.backends {
            tracked.leaving = !present.contains(key);
        }
    }

    fn track(
        &mut self,
        now: Now,
        service: &ServiceConfig,
        key: BackendKey,
        member: Member,
        adopted: &Adopted,
        effects: &mut Vec<Effect>,
    ) {
        let target = target(service, &key);
        if let Some(tracked) = self.backends.get_mut(&key) {
            tracked.drain = Drain::of(&member, now);
            tracked.member = member;
            tracked.machine.retune(&service.health, now.instant);
            if tracked.target != target {
                tracked.target = target.clone();
                effects.push(Effect::StartProber(target));
            }
            return;
        }
        let seed = self.random.u64(..);
        let taken_over = adopted.serving.contains(&(service.vip, key.address));
        let begin = if taken_over { Machine::adopted } else { Machine::new };
        let machine = begin(&service.health, now.instant, seed).with_first_wait(self.first_wait);
        effects.push(Effect::StartProber(target.clone()));
        let standing = Standing::Out(OutWhy::NeverUp(Health::Unknown));
        let drain = Drain::of(&member, now);
        let tracked = Tracked {
            drain,
            member,
            leaving: false,
            machine,
            target,
            attempt: 0,
            standing,
            ramp: None,
            ended: false,
            freed: None,
            denial: Denial::default(),
        };
        self.backends.insert(key, tracked);
    }

    /// Backends on which connections hang although the config no longer names them: an earlier agent watched them.
    fn track_orphans(
        &mut self,
        now: Now,
        service: &ServiceConfig,
        adopted: &Adopted,
        effects: &mut Vec<Effect>,
    ) {
        for ((vip, address), _) in adopted.active.iter().filter(|(_, active)| **active > 0) {
            let key = BackendKey { service: service.name.clone(), address: *address };
            if *vip == service.vip && !self.backends.contains_key(&key) {
                let source = Source::Config;
                let member = Member {
                    address: *address,
                    weight: 0,
                    source,
                    admin: Admin::Draining,
                    drain_until: None,
                    unlisted: false,
                };
                self.track(now, service, key, member, adopted, effects);
            }
        }
    }

    pub(super) fn forget_those_who_left(&mut self, active: &BTreeMap<Pair, u64>, effects: &mut Vec<Effect>) {
        let vip =
            |key: &BackendKey| self.config.services.iter().find(|s| s.name == key.service).map(|s| s.vip);
        let free = |key: &BackendKey| {
            vip(key).is_none_or(|vip| active.get(&(vip, key.address)).is_none_or(|n| *n == 0))
        };
        let left = self.backends.iter().filter(|(key, tracked)| tracked.leaving && free(key));
        for key in left.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.backends.remove(&key);
            effects.push(Effect::StopProber(key));
        }
    }
}

/// How long connections to a draining backend may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// For ever, or it is not drained at all.
    Unbounded,
    /// Until then.
    Until(Instant),
    /// No longer.
    Over,
}

impl Drain {
    fn of(member: &Member, now: Now) -> Self {
        let Some(until) = member.drain_until else { return Self::Unbounded };
        match Duration::try_from(until.duration_since(now.wall)) {
            Ok(left) if !left.is_zero() => Self::Until(now.instant + left),
            // A negative one is none.
            Ok(_) | Err(_) => Self::Over,
        }
    }

    pub(super) fn pass(&mut self, now: Now) {
        if let Self::Until(end) = *self
            && end <= now.instant
        {
            *self = Self::Over;
        }
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(end) => Some(end),
            Self::Unbounded | Self::Over => None,
        }
    }
}

fn target(service: &ServiceConfig, key: &BackendKey) -> ProbeTarget {
    ProbeTarget {
        key: key.clone(),
        kind: service.health.kind.clone(),
        hostname: service.hostname.clone(),
        timeout: service.health.timeout,
        heartbeat: service.health.heartbeat,
        patience: service.health.patience(),
    }
}
