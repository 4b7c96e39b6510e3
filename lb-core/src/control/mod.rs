//! The agent's mind: one event in, the effects out. It keeps what cannot be observed anew at any time: the verdicts
//! on the backends and the operator's intent.

mod decide;
mod denial;
mod discover;
mod event;
pub mod membership;
mod operate;
mod rebalance;
mod report;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

pub use event::{Effect, Event, Eviction, Now, Pair, Signal, Which};

use self::{
    denial::Denial,
    membership::{Listing, Member},
    rebalance::Rebalance,
    track::Drain,
};
use crate::{
    config::{Config, ServiceConfig},
    desired::{DesiredState, Ramp, Standing},
    health::{Machine, Transition},
    model::{BackendKey, Health, ServiceName},
    probe::{ProbeOutcome, ProbeTarget},
    state::State,
    view::TransitionView,
};

/// How many transitions `lbctl status` can show.
const MAX_TRANSITIONS: usize = 50;

/// What the kernel held when the agent began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Backends that took new connections.
    pub serving: BTreeSet<Pair>,
    /// Established connections of each pair.
    pub active: BTreeMap<Pair, u64>,
}

/// The agent's mind.
pub struct Controller {
    config: Arc<Config>,
    state: State,
    addresses: BTreeSet<IpAddr>,
    backends: BTreeMap<BackendKey, Tracked>,
    programmed: Option<Arc<DesiredState>>,
    transitions: VecDeque<TransitionView>,
    attempts: u64,
    rebalances: BTreeMap<ServiceName, Rebalance>,
    listings: BTreeMap<ServiceName, Listing>,
    ignored: BTreeMap<ServiceName, String>,
    node: String,
    random: fastrand::Rng,
    /// See [`Machine::with_first_wait`].
    first_wait: f64,
}

/// A backend and what is known about it.
struct Tracked {
    member: Member,
    drain: Drain,
    /// It left the service, but connections still hang on it: it is watched until the last one is gone.
    leaving: bool,
    machine: Machine,
    target: ProbeTarget,
    attempt: u64,
    standing: Standing,
    /// How far its weight has grown since it was back.
    ramp: Option<Ramp>,
    /// Its connections were ended, and it would be in vain to do it again.
    ended: bool,
    /// The silence whose new connections were ended.
    freed: Option<Instant>,
    denial: Denial,
}

impl Controller {
    /// Begins, with what was kept and what the kernel still holds. The effects set everything in motion.
    pub fn new(
        config: Arc<Config>,
        state: &State,
        adopted: &Adopted,
        addresses: BTreeSet<IpAddr>,
        now: Now,
        seed: u64,
    ) -> (Self, Vec<Effect>) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut this = Self {
            state: membership::prune(&config, state),
            config,
            addresses,
            backends: BTreeMap::new(),
            programmed: None,
            transitions: VecDeque::new(),
            attempts: 0,
            rebalances: BTreeMap::new(),
            listings: BTreeMap::new(),
            ignored: BTreeMap::new(),
            node: String::new(),
            first_wait: random.f64(),
            random,
        };
        let mut effects = Vec::new();
        this.track_members(now, adopted, &mut effects);
        effects.push(Effect::Hosts(this.config.hosts_entries()));
        effects.push(Effect::Persist(this.state.clone()));
        this.probe_due(now, &mut effects);
        this.decide(now, &mut effects);
        (this, effects)
    }

    /// Takes one event.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Probed { key, attempt, outcome } => {
                self.probed(now, &key, attempt, &outcome, &mut effects)
            }
            Event::ConnectionLost { key, why } => {
                if let Some(tracked) = self.backends.get_mut(&key) {
                    tracked.machine.connection_lost(now.instant, &why);
                }
            }
            Event::Silent { key, silence } => {
                let mut others = self.backends.iter().filter(|(k, _)| k.service == key.service && **k != key);
                let others_answer = others.any(|(_, other)| other.machine.answers());
                let tracked = self.backends.get_mut(&key);
                let silent = tracked.and_then(|t| t.machine.silent(now.instant, silence, others_answer));
                if let Some(transition) = silent {
                    self.announce(now, &key, transition, &mut effects);
                }
            }
            Event::Signalled { pair, signal } => self.signalled(now, pair, signal),
            Event::Reloaded(config) => self.reload(now, config, &mut effects),
            Event::Operator { request, ticket } => {
                let result = Box::new(self.operate(now, &request, &mut effects));
                effects.push(Effect::Answer { ticket, result });
            }
            Event::Listed { service, addresses } => self.listed(now, &service, &addresses, &mut effects),
            Event::Addresses(addresses) => self.addresses = addresses,
            Event::Counted(active) => {
                self.forget_those_who_left(&active, &mut effects);
                self.count_crowded(&active);
            }
        }
        self.expire(now, &mut effects);
        self.notice_stranded(now, &mut effects);
        self.probe_due(now, &mut effects);
        self.decide(now, &mut effects);
        effects
    }

    /// When [`Event::Tick`] should come, if nothing else does before.
    pub fn deadline(&self) -> Option<Instant> {
        let of = |t: &Tracked| {
            let (drained, grown) = (t.drain.deadline(), t.ramp.map(|ramp| ramp.next));
            [t.machine.next_probe(), t.machine.verdict_due(), drained, grown]
        };
        self.backends.values().flat_map(of).flatten().chain(self.rebalance_due()).min()
    }

    /// Whether every backend got its first verdict.
    pub fn is_settled(&self) -> bool {
        self.backends.values().all(|t| t.machine.health() != Health::Unknown)
    }

    /// Whether every service has a backend that is up.
    pub fn all_services_up(&self) -> bool {
        let up = |s: &ServiceConfig| {
            self.of_service(s).any(|(_, t)| t.standing.is_serving() && t.machine.health() == Health::Up)
        };
        self.config.services.iter().all(up)
    }

    fn of_service(&self, service: &ServiceConfig) -> impl Iterator<Item = (&BackendKey, &Tracked)> {
        self.backends.iter().filter(move |(key, _)| key.service == service.name)
    }

    fn reload(&mut self, now: Now, config: Arc<Config>, effects: &mut Vec<Effect>) {
        self.config = config;
        let follows = |name: &ServiceName| {
            self.config.services.iter().any(|service| service.name == *name && service.discovery.is_some())
        };
        self.listings.retain(|name, _| follows(name));
        self.ignored.retain(|name, _| follows(name));
        self.state = membership::prune(&self.config, &self.state);
        self.track_members(now, &Adopted::default(), effects);
        effects.push(Effect::Hosts(self.config.hosts_entries()));
        effects.push(Effect::Persist(self.state.clone()));
    }

    fn probed(
        &mut self,
        now: Now,
        key: &BackendKey,
        attempt: u64,
        outcome: &ProbeOutcome,
        effects: &mut Vec<Effect>,
    ) {
        if self.backends.get(key).is_none_or(|tracked| tracked.attempt != attempt) {
            return;
        }
        let outcome = self.weighed(now, key, outcome);
        let tracked = self.backends.get_mut(key);
        if let Some(transition) = tracked.and_then(|tracked| tracked.machine.probed(now.instant, &outcome)) {
            self.announce(now, key, transition, effects);
        }
    }

    fn signalled(&mut self, now: Now, (vip, address): Pair, signal: Signal) {
        let Some(service) = self.config.services.iter().find(|service| service.vip == vip) else { return };
        let key = BackendKey { service: service.name.clone(), address };
        if let Some(tracked) = self.backends.get_mut(&key) {
            tracked.machine.signalled(now.instant, signal);
        }
    }

    fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.backends.values_mut().for_each(|tracked| tracked.drain.pass(now));
        let expired = |(key, tracked): (&BackendKey, &mut Tracked)| {
            Some((key.clone(), tracked.machine.expire(now.instant)?))
        };
        for (key, transition) in self.backends.iter_mut().filter_map(expired).collect::<Vec<_>>() {
            self.announce(now, &key, transition, effects);
        }
    }

    fn announce(&mut self, now: Now, key: &BackendKey, transition: Transition, effects: &mut Vec<Effect>) {
        if transition.to == Health::Up {
            let mut kept = self.state.get(key);
            kept.last_up = Some(now.wall);
            self.state.set(key, kept);
            effects.push(Effect::Persist(self.state.clone()));
        }
        let view = TransitionView {
            at: now.wall,
            service: key.service.clone(),
            address: key.address,
            from: transition.from,
            to: transition.to,
            reason: (transition.to != Health::Up).then_some(transition.reason),
        };
        self.transitions.truncate(MAX_TRANSITIONS - 1);
        self.transitions.push_front(view.clone());
        effects.push(Effect::Announce(view));
    }

    /// Where one is due, those that may join it are probed along.
    fn probe_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_due = |t: &Tracked| t.machine.next_probe().is_some_and(|at| at <= now.instant);
        if !self.backends.values().any(is_due) {
            return;
        }
        for (key, tracked) in &mut self.backends {
            if tracked.machine.may_join(now.instant) {
                self.attempts += 1;
                tracked.attempt = self.attempts;
                let doubted = tracked.machine.probe_started(now.instant);
                let (key, attempt, doubted) = (key.clone(), self.attempts, doubted);
                effects.push(Effect::Probe { key, attempt, doubted });
            }
        }
    }

    fn is_local(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address.ip())
    }
}
