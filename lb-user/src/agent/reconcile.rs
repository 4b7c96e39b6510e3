//! The thread that makes the kernel hold what it should. A slow kernel call delays nobody but the next change.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lb_core::{control::Pair, desired::DesiredState};
use tokio::sync::mpsc;

use crate::dataplane::{Counters, Dataplane, DataplaneError, Evicted, Inspection};

/// How often the kernel's state is compared with what it should be, though nothing is known to have changed.
const RESYNC: Duration = Duration::from_secs(5);

/// When sockets are looked for again after an eviction: a connect that was just being made when the kernel was
/// programmed shows up a moment later.
const SWEEPS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// What the thread is asked to do. Later orders replace earlier ones; evictions add up.
#[derive(Default)]
struct Orders {
    desired: Option<Arc<DesiredState>>,
    /// Counts the changes of `desired`, so that a report says which it is about.
    generation: u64,
    evict: BTreeSet<Pair>,
    news: bool,
    stop: bool,
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
}

/// What a comparison showed and did.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// Which of the orders the kernel now follows.
    pub(super) generation: u64,
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
    pub(super) fn start<D: Dataplane + Send + 'static>(
        dataplane: D,
        reports: mpsc::Sender<Report>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { orders: Mutex::default(), wake: Condvar::new() });
        let worker = Worker {
            dataplane,
            shared: shared.clone(),
            reports,
            sweeps: Vec::new(),
            current: Arc::default(),
            generation: 0,
        };
        let thread = thread::Builder::new().name("reconcile".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Orders a state, and connections to be ended after it is in force. Gives the order's number.
    pub(super) fn order(&self, desired: Arc<DesiredState>, evict: Vec<Pair>) -> u64 {
        let mut orders = self.shared.lock();
        orders.desired = Some(desired);
        orders.generation += 1;
        orders.evict.extend(evict);
        orders.news = true;
        self.shared.wake.notify_one();
        orders.generation
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

struct Worker<D> {
    dataplane: D,
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    sweeps: Vec<(Instant, BTreeSet<Pair>)>,
    current: Arc<DesiredState>,
    generation: u64,
}

/// What woke the thread.
enum Wake {
    Orders { evict: BTreeSet<Pair> },
    Sweep(BTreeSet<Pair>),
    Resync,
    Stop,
}

impl<D: Dataplane> Worker<D> {
    fn run(mut self) {
        let mut resync_at = Instant::now() + RESYNC;
        loop {
            match self.wait(resync_at) {
                Wake::Stop => return,
                Wake::Sweep(pairs) => self.evict(&pairs),
                Wake::Orders { evict } => {
                    let ordered = self.reconcile();
                    self.begin_eviction(evict);
                    self.report(ordered, true);
                    resync_at = Instant::now() + RESYNC;
                }
                Wake::Resync => {
                    let found = self.reconcile();
                    self.report(found, false);
                    resync_at = Instant::now() + RESYNC;
                }
            }
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
                return Wake::Orders { evict: mem::take(&mut orders.evict) };
            }
            let now = Instant::now();
            if let Some(due) = self.sweeps.iter().position(|(at, _)| *at <= now) {
                return Wake::Sweep(self.sweeps.swap_remove(due).1);
            }
            // Before the first order nothing is known to compare with.
            if self.generation > 0 && resync_at <= now {
                return Wake::Resync;
            }
            let resync = if self.generation > 0 { resync_at } else { now + RESYNC };
            let until = self.sweeps.iter().map(|(at, _)| *at).fold(resync, Instant::min);
            let timeout = until.saturating_duration_since(now);
            let (guard, _) =
                self.shared.wake.wait_timeout(orders, timeout).unwrap_or_else(PoisonError::into_inner);
            orders = guard;
        }
    }

    /// Observes, compares and mends; once more from the start when that failed half-way. Gives the number of changes.
    fn reconcile(&mut self) -> Result<usize, DataplaneError> {
        self.attempt().or_else(|first| {
            tracing::warn!(
                error = &first as &dyn std::error::Error,
                "failed to program the kernel; trying again"
            );
            self.attempt()
        })
    }

    fn attempt(&mut self) -> Result<usize, DataplaneError> {
        let wanted = self.dataplane.lower(&self.current)?;
        let observed = self.dataplane.observe()?;
        let changes = D::diff(&observed, &wanted);
        for change in &changes {
            tracing::debug!(?change, "programming the kernel");
            self.dataplane.apply(change)?;
        }
        Ok(changes.len())
    }

    fn begin_eviction(&mut self, pairs: BTreeSet<Pair>) {
        if pairs.is_empty() {
            return;
        }
        self.evict(&pairs);
        let now = Instant::now();
        // Bounded: every eviction adds two sweeps that are over within a second.
        self.sweeps.extend(SWEEPS.iter().map(|after| (now + *after, pairs.clone())));
    }

    /// A backend that serves again meanwhile keeps its new connections.
    fn evict(&mut self, pairs: &BTreeSet<Pair>) {
        let serves = |(vip, address): &Pair| {
            let service = self.current.services.iter().find(|s| s.vip == *vip);
            service.is_some_and(|s| s.serving.iter().any(|b| b.address == *address))
        };
        let pairs: Vec<_> = pairs.iter().filter(|pair| !serves(pair)).copied().collect();
        if pairs.is_empty() {
            return;
        }
        let result = self.dataplane.evict(&pairs).map_err(|e| chain(&e));
        self.send(Report::Evicted(result));
    }

    fn report(&mut self, reconciled: Result<usize, DataplaneError>, ordered: bool) {
        let settled = if reconciled.is_ok() { self.dataplane.settle() } else { Ok(()) };
        let inspection = self.dataplane.inspect();
        let counters = self.dataplane.counters();
        let errors = [reconciled.as_ref().err(), settled.as_ref().err(), inspection.as_ref().err()];
        let error = errors.into_iter().flatten().chain(counters.as_ref().err()).next().map(|e| chain(e));
        let repaired = if ordered { 0 } else { reconciled.unwrap_or(0) };
        self.send(Report::Reconciled(Reconciled {
            generation: self.generation,
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

/// An error with its causes, for people.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
