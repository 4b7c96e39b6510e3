//! Paced rebalancing: clients that hold one connection for months stay with the backends that they fled to. Where it is
//! wanted, connections older than a backend's return are ended one by one, and their owners choose anew.
//!
//! An agent sees its node only, where few connections hang, so it cannot count who is crowded: every backend is that did not
//! return. How many are ended follows from how clients choose:
//!
//! | policy | ended |
//! |---|---|
//! | `random`, `round-robin` | each once: a share of them lands on the one that returned |
//! | `least-conn` | that share: each lands there |
//! | `sticky` | all where the node's home returned, else none |
//!
//! Nothing is ended while any backend is not well, and nothing is made up for: an agent that starts anew begins anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::{Controller, Eviction, Now, Pair, Tracked, Which};
use crate::{
    config::ServiceConfig,
    desired::{DesiredService, home},
    model::{Admin, Health, Policy},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What is left to do after a return.
#[derive(Clone, Debug)]
pub(super) struct Rebalance {
    /// When the last one returned.
    since: Instant,
    returned: BTreeSet<SocketAddr>,
    next: Instant,
    /// Unknown until the kernel has counted once more.
    due: Option<Due>,
}

/// Whose connections are ended.
#[derive(Clone, Debug)]
struct Due {
    /// How many may still be.
    budget: u64,
    /// How many each of those had that did not return, less those that were ended.
    left: BTreeMap<SocketAddr, u64>,
}

impl Controller {
    /// Says which node this is: it decides about `sticky`.
    pub fn set_node(&mut self, name: String) {
        self.node = name;
    }

    /// Ends a connection, if one is due. The first step after a return ends none: who is connected then is noted.
    pub(super) fn rebalance(
        &mut self,
        now: Now,
        service: &ServiceConfig,
        desired: &DesiredService,
        evict: &mut Vec<Eviction>,
    ) {
        let Some(per_minute) = service.rebalance else {
            self.rebalances.remove(&service.name);
            return;
        };
        if !self.is_well(service) {
            return;
        }
        let Some(latest) = self.of_service(service).filter_map(|(_, t)| t.machine.recovered()).max() else {
            return;
        };
        let known = self.rebalances.get(&service.name).map(|rebalance| rebalance.since);
        if known != Some(latest) {
            let returned = self
                .of_service(service)
                .filter(|(_, tracked)| tracked.machine.recovered() > known)
                .map(|(key, _)| key.address)
                .collect();
            let next = now.instant + pace(per_minute).mul_f64(self.random.f64());
            let begun = Rebalance { since: latest, returned, next, due: None };
            evict.extend(begun.elders(desired, None));
            self.rebalances.insert(service.name.clone(), begun);
            return;
        }
        let wait = pace(per_minute).mul_f64(0.5 + self.random.f64());
        let Some(rebalance) = self.rebalances.get_mut(&service.name) else { return };
        if rebalance.is_due(now.instant) {
            rebalance.next = now.instant + wait;
            let crowded = rebalance.due.as_mut().and_then(|due| due.take_one(desired));
            evict.extend(crowded.iter().flat_map(|_| rebalance.elders(desired, crowded)));
        }
    }

    /// When the next connection is ended, if nothing happens before.
    pub(super) fn rebalance_due(&self) -> Option<Instant> {
        let due = |service: &ServiceConfig| {
            let rebalance = self.rebalances.get(&service.name).filter(|rebalance| rebalance.has_more())?;
            self.is_well(service).then_some(rebalance.next)
        };
        self.config.services.iter().filter_map(due).min()
    }

    /// Finds out how many connections are to be ended, where that is not known yet.
    pub(super) fn count_crowded(&mut self, active: &BTreeMap<Pair, u64>) {
        let Some(programmed) = self.programmed.clone() else { return };
        for desired in &programmed.services {
            let Some(rebalance) = self.rebalances.get_mut(&desired.name).filter(|r| r.due.is_none()) else {
                continue;
            };
            let crowded = rebalance.crowded(desired).map(|address| (desired.vip, address));
            let left: BTreeMap<_, _> =
                crowded.map(|pair| (pair.1, active.get(&pair).copied().unwrap_or(0))).collect();
            let all = left.values().sum::<u64>();
            let budget = match desired.policy {
                Policy::Random | Policy::RoundRobin => all,
                // A half is one every second time, so that many nodes together end the right number.
                Policy::LeastConn => {
                    (all as f64 * share(desired, &rebalance.returned) + self.random.f64()) as u64
                }
                Policy::Sticky => {
                    let home = home(&self.node, &desired.serving);
                    if home.is_some_and(|home| rebalance.returned.contains(&home)) { all } else { 0 }
                }
            };
            rebalance.due = Some(Due { budget, left });
        }
    }

    /// Whether every backend that may serve does, with all of its weight.
    fn is_well(&self, service: &ServiceConfig) -> bool {
        let wanted = |t: &Tracked| !t.leaving && t.member.admin == Admin::Active && t.member.weight > 0;
        let well =
            |t: &Tracked| t.standing.is_serving() && t.machine.health() == Health::Up && t.ramp.is_none();
        self.of_service(service).all(|(_, tracked)| !wanted(tracked) || well(tracked))
    }
}

impl Rebalance {
    fn has_more(&self) -> bool {
        self.due.as_ref().is_some_and(|due| due.budget > 0)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.has_more() && self.next <= now
    }

    /// Those who serve and did not return.
    fn crowded(&self, desired: &DesiredService) -> impl Iterator<Item = SocketAddr> {
        let serving = desired.serving.iter().map(|backend| backend.address);
        serving.filter(|address| !self.returned.contains(address))
    }

    fn elders(&self, desired: &DesiredService, of: Option<SocketAddr>) -> Vec<Eviction> {
        let which = |address| Which::Elders { since: self.since, one: of == Some(address) };
        let eviction = |address| Eviction { pair: (desired.vip, address), which: which(address) };
        self.crowded(desired).map(eviction).collect()
    }
}

impl Due {
    /// Takes one from the most crowded backend by its weight; `None` where nobody has any.
    fn take_one(&mut self, desired: &DesiredService) -> Option<SocketAddr> {
        self.budget -= 1;
        let weight = |address: &SocketAddr| {
            let backend = desired.serving.iter().find(|backend| backend.address == *address);
            backend.map_or(1, |backend| backend.weight)
        };
        let load = |(address, left): &(&SocketAddr, &mut u64)| **left as f64 / f64::from(weight(address));
        let having = self.left.iter_mut().filter(|(_, left)| **left > 0);
        let (address, left) = having.max_by(|one, other| load(one).total_cmp(&load(other)))?;
        *left -= 1;
        Some(*address)
    }
}

/// On average; each wait is half as long to one and a half times as long.
fn pace(per_minute: NonZeroU32) -> Duration {
    MINUTE / per_minute.get()
}

fn share(desired: &DesiredService, returned: &BTreeSet<SocketAddr>) -> f64 {
    let sum = |wanted: &dyn Fn(&SocketAddr) -> bool| {
        let weights = desired.serving.iter().filter(|backend| wanted(&backend.address));
        weights.map(|backend| f64::from(backend.weight)).sum::<f64>()
    };
    sum(&|address| returned.contains(address)) / sum(&|_| true).max(1.0)
}
