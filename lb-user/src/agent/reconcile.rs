//! The thread that makes the kernel hold what it should. A slow kernel call delays nobody but the next change.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Pair, Which},
    desired::DesiredState,
    model::{DataplaneKind, Dataplanes},
};
use tokio::sync::mpsc;

use super::{
    chain,
    planes::{Moved, Planes},
};
use crate::dataplane::{Counters, DataplaneError, Evicted, Inspection, Plane};

/// How long the thread sleeps at most before the first order, when nothing is known to compare with.
const UNORDERED: Duration = Duration::from_secs(5);

/// When sockets are looked for again after an eviction: a connect that was just being made when the kernel was
/// programmed shows up a moment later.
const SWEEPS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Which connections of each pair are to be ended.
type Evictions = BTreeMap<Pair, Which>;

/// What the thread is asked to do. Later orders replace earlier ones; evictions add up.
#[derive(Default)]
struct Orders {
    desired: Option<Arc<DesiredState>>,
    /// Counts the changes of `desired`, so that a report says which it is about.
    generation: u64,
    evict: Evictions,
    switch: Option<Switch>,
    news: bool,
    stop: bool,
}

/// A move.
struct Switch {
    to: Dataplanes,
    /// Those of them that were opened for it; the others are here, in use or not.
    opened: Vec<Box<dyn Plane>>,
}

struct Shared {
    orders: Mutex<Orders>,
    wake: Condvar,
}

/// What the thread says.
#[derive(Debug)]
pub(super) enum Report {
    /// The kernel was compared with what it should hold.
    Reconciled(Reconciled),
    /// Connections were ended.
    Evicted(Result<Evicted, String>),
    /// The node was moved to other dataplanes, or why it was not.
    Switched(Result<Dataplanes, String>),
    /// Not all of those to move to are there: what lacks has to be opened.
    Lacking {
        /// Which are there.
        held: Vec<DataplaneKind>,
    },
}

/// What a comparison showed and did.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// Which of the orders the kernel now follows.
    pub(super) generation: u64,
    /// What that order was.
    pub(super) desired: Arc<DesiredState>,
    /// Why it does not.
    pub(super) error: Option<String>,
    /// Changes that nobody had ordered: somebody else had been there.
    pub(super) repaired: usize,
    /// What a look at the dataplane showed.
    pub(super) inspection: Option<Inspection>,
    /// What the kernel counted.
    pub(super) counters: BTreeMap<Pair, Counters>,
}

/// The thread, from outside. Dropping it lets the thread end after what it is doing; the kernel keeps what it has.
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Reconciler {
    pub(super) fn start(planes: Planes, reports: mpsc::Sender<Report>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { orders: Mutex::default(), wake: Condvar::new() });
        let worker = Worker {
            planes,
            shared: shared.clone(),
            reports,
            sweeps: Vec::new(),
            current: Arc::default(),
            generation: 0,
            complaint: None,
        };
        let thread = thread::Builder::new().name("reconcile".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Orders a state, and connections to be ended after it is in force. Gives the order's number.
    pub(super) fn order(&self, desired: Arc<DesiredState>, evict: Vec<Eviction>) -> u64 {
        let mut orders = self.shared.lock();
        orders.desired = Some(desired);
        orders.generation += 1;
        for Eviction { pair, which } in evict {
            let ordered = orders.evict.entry(pair).or_insert(which);
            *ordered = which.max(*ordered);
        }
        orders.news = true;
        self.shared.wake.notify_one();
        orders.generation
    }

    /// Orders a move to other dataplanes: those in use stay, those that connections still hang on are returned to, the others
    /// are among `opened`. Connections that were made through one that is left go on until they end.
    pub(super) fn switch(&self, to: Dataplanes, opened: Vec<Box<dyn Plane>>) {
        let mut orders = self.shared.lock();
        orders.switch = Some(Switch { to, opened });
        orders.news = true;
        self.shared.wake.notify_one();
    }
}

impl Reconciler {
    /// Has the kernel compared now: what the dataplane stands on has changed.
    pub(super) fn look_again(&self) {
        let mut orders = self.shared.lock();
        if orders.generation > 0 {
            orders.news = true;
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reconciler panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    planes: Planes,
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    sweeps: Vec<(Instant, Evictions)>,
    current: Arc<DesiredState>,
    generation: u64,
    /// How the last comparison failed.
    complaint: Option<String>,
}

/// What woke the thread.
enum Wake {
    Orders { evict: Evictions, switch: Option<Switch> },
    Sweep(Evictions),
    Resync,
    Stop,
}

impl Worker {
    fn run(mut self) {
        let mut resync_at = Instant::now() + self.planes.resync();
        loop {
            match self.wait(resync_at) {
                Wake::Stop => return,
                Wake::Sweep(evictions) => {
                    self.evict(&evictions);
                    continue;
                }
                Wake::Orders { evict, switch } => {
                    if let Some(switch) = switch {
                        self.switch(switch);
                    }
                    let ordered = self.reconcile();
                    self.begin_eviction(evict);
                    self.report(ordered, true);
                }
                Wake::Resync => {
                    let goes_on = self.planes.are_unfinished();
                    let found = self.reconcile();
                    self.report(found, goes_on);
                }
            }
            resync_at = Instant::now() + self.planes.resync();
        }
    }

    fn wait(&mut self, resync_at: Instant) -> Wake {
        let mut orders = self.shared.lock();
        loop {
            if orders.stop {
                return Wake::Stop;
            }
            if mem::take(&mut orders.news) {
                self.current = orders.desired.clone().unwrap_or_default();
                self.generation = orders.generation;
                return Wake::Orders { evict: mem::take(&mut orders.evict), switch: orders.switch.take() };
            }
            let now = Instant::now();
            if let Some(due) = self.sweeps.iter().position(|(at, _)| *at <= now) {
                return Wake::Sweep(self.sweeps.swap_remove(due).1);
            }
            // Before the first order nothing is known to compare with.
            if self.generation > 0 && resync_at <= now {
                return Wake::Resync;
            }
            let resync = if self.generation > 0 { resync_at } else { now + UNORDERED };
            let until = self.sweeps.iter().map(|(at, _)| *at).fold(resync, Instant::min);
            let timeout = until.saturating_duration_since(now);
            let (guard, _) =
                self.shared.wake.wait_timeout(orders, timeout).unwrap_or_else(PoisonError::into_inner);
            orders = guard;
        }
    }

    fn switch(&mut self, Switch { to, opened }: Switch) {
        let report = match self.planes.switch(to, opened, &self.current) {
            Ok(Moved::Done) => Report::Switched(Ok(to)),
            Ok(Moved::Lacking { held }) => Report::Lacking { held },
            Err(error) => Report::Switched(Err(chain(&error))),
        };
        self.send(report);
    }

    /// Observes, compares and mends; once more from the start when that failed half-way. Gives the number of changes.
    fn reconcile(&mut self) -> Result<usize, DataplaneError> {
        let first = match self.planes.reconcile(&self.current) {
            Ok(changes) => {
                self.complaint = None;
                return Ok(changes);
            }
            Err(error) => chain(&error),
        };
        // One that stays would fill the log: the kernel is compared up to twice a second.
        if self.complaint.as_ref() != Some(&first) {
            tracing::warn!("failed to program the kernel, trying again: {first}");
        }
        self.complaint = Some(first);
        self.planes.reconcile(&self.current)
    }

    fn begin_eviction(&mut self, mut evictions: Evictions) {
        if evictions.is_empty() {
            return;
        }
        self.evict(&evictions);
        evictions.retain(|_, which| !is_rebalancing(which));
        if evictions.is_empty() {
            return;
        }
        let now = Instant::now();
        // Bounded: every eviction adds two sweeps that are over within a second.
        self.sweeps.extend(SWEEPS.iter().map(|after| (now + *after, evictions.clone())));
    }

    /// A backend that serves again meanwhile keeps its new connections.
    fn evict(&mut self, evictions: &Evictions) {
        let serves = |(vip, address): &Pair| {
            let service = self.current.services.iter().find(|s| s.vip == *vip);
            service.is_some_and(|s| s.serving.iter().any(|b| b.address == *address))
        };
        let left = evictions.iter().filter(|(pair, which)| is_rebalancing(which) || !serves(pair));
        let left: Vec<_> = left.map(|(pair, which)| Eviction { pair: *pair, which: *which }).collect();
        if left.is_empty() {
            return;
        }
        let result = self.planes.evict(&left).map_err(|e| chain(&e));
        self.send(Report::Evicted(result));
    }

    fn report(&mut self, reconciled: Result<usize, DataplaneError>, ordered: bool) {
        let settled = if reconciled.is_ok() { self.planes.settle() } else { Ok(()) };
        let inspection = self.planes.inspect();
        let counters = self.planes.counters();
        let errors = [reconciled.as_ref().err(), settled.as_ref().err(), inspection.as_ref().err()];
        let error = errors.into_iter().flatten().chain(counters.as_ref().err()).next().map(|e| chain(e));
        let repaired = if ordered { 0 } else { reconciled.unwrap_or(0) };
        self.send(Report::Reconciled(Reconciled {
            generation: self.generation,
            desired: self.current.clone(),
            error,
            repaired,
            inspection: inspection.ok(),
            counters: counters.unwrap_or_default(),
        }));
    }

    fn send(&self, report: Report) {
        if self.reports.blocking_send(report).is_err() {
            tracing::debug!("the agent is gone; nobody reads reports");
        }
    }
}

/// It takes a few connections from those who serve, and once.
fn is_rebalancing(which: &Which) -> bool {
    match which {
        Which::Elders { .. } => true,
        Which::BegunSince(_) | Which::All => false,
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
