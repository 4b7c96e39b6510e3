//! The agent's two doors: the admin API on a unix socket (root only, may change things) and the metrics listener
//! on TCP (read only), and the client that `lbctl`'s commands use.
//!
//! The agent's loop is never called from here. It publishes a [`Snapshot`], takes [`OperatorCall`]s from a bounded
//! channel when it has the time, and broadcasts transitions; whatever a client does, the loop does not wait for it.

mod api;
mod body;
mod client;
mod events;
mod metrics;
mod query;
mod ready;
mod route;
mod serve;
mod socket;
mod wire;

use std::{sync::Arc, time::Duration};

use lb_core::{
    model::ServiceName,
    operator::{OperatorError, OperatorRequest},
    view::{
        BackendView, ServiceView, StatusView, TransitionView,
        connections::{ConnectionFilter, ConnectionTableView},
    },
};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use self::wire::Refusal;

pub use api::AdminServer;
pub use client::{Client, ClientError};
pub use metrics::{MetricsError, MetricsServer};
pub use socket::BindError;
pub use wire::ApiError;

/// What the agent shows of itself, published by its loop.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Everything but the connection counters, which are read from the kernel when somebody asks.
    pub status: Arc<StatusView>,
    /// Whether the agent has programmed the kernel since it started.
    pub ready: bool,
}

/// One wish of an operator on its way to the agent's loop.
#[derive(Debug)]
pub struct OperatorCall {
    /// What is asked for.
    pub request: OperatorRequest,
    /// Where the answer goes: the backend as it is now, or as it was before it was removed.
    pub reply: oneshot::Sender<Result<BackendView, OperatorError>>,
}

/// Fills in what the kernel counted ([`BackendView::connections`]). May block; is never called twice at once.
pub type Refresh = Arc<dyn Fn(&mut StatusView) + Send + Sync>;

/// Reads the connections that the kernel translates packet by packet, or says why it cannot. May block; is never called twice
/// at once.
pub type Connections =
    Arc<dyn Fn(&ConnectionFilter, &[ServiceView]) -> Result<ConnectionTableView, String> + Send + Sync>;

/// The agent, as its servers see it.
#[derive(Clone)]
pub struct Agent {
    snapshots: watch::Receiver<Snapshot>,
    operators: mpsc::Sender<OperatorCall>,
    transitions: broadcast::Sender<TransitionView>,
    refresh: Refresh,
    refreshing: Arc<Semaphore>,
    connections: Connections,
    listing: Arc<Semaphore>,
}

impl Agent {
    /// Connects the servers with the agent's loop. The loop is taken for dead once the sender of `snapshots` is
    /// dropped.
    pub fn new(
        snapshots: watch::Receiver<Snapshot>,
        operators: mpsc::Sender<OperatorCall>,
        transitions: broadcast::Sender<TransitionView>,
        refresh: Refresh,
    ) -> Self {
        let one_at_a_time = || Arc::new(Semaphore::new(1));
        Self {
            snapshots,
            operators,
            transitions,
            refresh,
            refreshing: one_at_a_time(),
            connections: Arc::new(|_, _| Ok(ConnectionTableView::default())),
            listing: one_at_a_time(),
        }
    }

    /// The same, with connections that are read by this; without, there are none.
    #[must_use]
    pub fn listing(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    /// Whether the agent's loop runs.
    fn alive(&self) -> bool {
        self.snapshots.has_changed().is_ok()
    }

    fn latest(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// The newest snapshot with fresh counters; with a warning instead where the kernel does not answer in time.
    async fn status(&self, deadline: Duration) -> StatusView {
        let snapshot = self.latest().status;
        let counted = tokio::time::timeout(deadline, self.counted(snapshot.clone())).await;
        if let Ok(Some(status)) = counted {
            return status;
        }
        let mut status = StatusView::clone(&snapshot);
        status.warnings.push("connection counters are missing or old: the kernel did not answer".to_owned());
        status
    }

    /// The connections that are asked for.
    async fn connections(
        &self,
        filter: ConnectionFilter,
        deadline: Duration,
    ) -> Result<ConnectionTableView, Refusal> {
        let services = self.latest().status;
        if let Some(name) = filter.service.as_ref().filter(|name| !has_service(&services, name)) {
            let known = services.services.iter().map(|service| service.name.clone()).collect();
            return Err(OperatorError::UnknownService { name: name.clone(), known }.into());
        }
        let listed = async {
            // One at a time, as with counters.
            let permit = self.listing.clone().acquire_owned().await.map_err(|_| Refusal::AgentGone)?;
            let list = self.connections.clone();
            let read = tokio::task::spawn_blocking(move || {
                let table = list(&filter, &services.services);
                drop(permit);
                table.map_err(Refusal::Kernel)
            });
            read.await.map_err(|_| Refusal::AgentGone)?
        };
        let busy = |_| Refusal::KernelBusy { seconds: deadline.as_secs() };
        tokio::time::timeout(deadline, listed).await.map_err(busy)?
    }

    /// Reads the counters on a thread that may block; `None`: that panicked or the runtime is shutting down.
    async fn counted(&self, snapshot: Arc<StatusView>) -> Option<StatusView> {
        // One at a time: a kernel that hangs costs one thread, however many clients ask.
        let permit = self.refreshing.clone().acquire_owned().await.ok()?;
        let refresh = self.refresh.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut status = StatusView::clone(&snapshot);
            refresh(&mut status);
            drop(permit);
            status
        });
        read.await.ok()
    }
}

fn has_service(status: &StatusView, name: &ServiceName) -> bool {
    status.services.iter().any(|service| service.name == *name)
}

/// What clients may take of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once on one listener. 32: a node has a handful of clients, and each costs up to 40 KiB.
    pub connections: usize,
    /// Event streams among them: half, so that streams never shut out a command.
    pub streams: usize,
    /// The longest wait for a request's head, and again for its body.
    pub read: Duration,
    /// The longest life of a connection that is not an event stream, so that a client that does not read frees
    /// its place.
    pub connection: Duration,
    /// The longest wait for the agent's loop, or for a list of connections: below the client's own 5 s, so that the client learns why.
    pub agent: Duration,
    /// The longest wait for the kernel's counters; the rest is answered without.
    pub counters: Duration,
    /// From one comment to the next on a silent event stream.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            streams: 16,
            read: Duration::from_secs(10),
            connection: Duration::from_secs(30),
            agent: Duration::from_secs(4),
            counters: Duration::from_secs(2),
            keep_alive: Duration::from_secs(15),
        }
    }
}
