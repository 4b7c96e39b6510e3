//! From a table that may be long to an answer that is not: each connection is looked at once, and few are kept.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    BackendConnectionsView, CapacityView, ConnectionTableView, ConnectionView, CountedView, DroppedView,
    MAX_ROWS,
};
use crate::{
    model::{ConnectionState, ServiceName},
    view::ServiceView,
};

/// One connection, as the kernel's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whence.
    pub client: SocketAddr,
    /// The VIP; for one that the socket dataplane made the backend that it was meant for.
    pub vip: SocketAddr,
    /// Whither in truth.
    pub backend: SocketAddr,
    /// Its source port on the way to the backend.
    pub port: u16,
    /// How far it is.
    pub state: ConnectionState,
    /// Whether its client is a process of this node.
    pub host: bool,
    /// Whether it was sent to another backend before it was answered.
    pub rescued: bool,
    /// Since its first packet.
    pub age: Duration,
    /// Since its last packet.
    pub idle: Duration,
}

/// What there is to say of a table as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Packets that were not let through.
    pub dropped: DroppedView,
    /// Connections since it was made.
    pub counted: CountedView,
    /// How many there is room for.
    pub capacity: CapacityView,
}

/// Which connections are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Of this service; `None`: of any.
    pub service: Option<ServiceName>,
    /// To this backend; `None`: to any.
    pub backend: Option<SocketAddr>,
    /// So many at most are listed. All are counted.
    pub limit: usize,
}

impl Default for ConnectionFilter {
    fn default() -> Self {
        Self { service: None, backend: None, limit: MAX_ROWS }
    }
}

impl ConnectionFilter {
    /// All are counted, none is listed.
    pub const COUNTS: Self = Self { service: None, backend: None, limit: 0 };
}

/// Counts the connections that are asked for, and keeps as many as are wanted.
pub struct Collector<'a> {
    filter: &'a ConnectionFilter,
    services: &'a [ServiceView],
    kept: Vec<ConnectionView>,
    counts: BTreeMap<(SocketAddr, SocketAddr), BackendConnectionsView>,
    total: u64,
}

impl<'a> Collector<'a> {
    /// Names connections by the services that there are.
    pub fn new(filter: &'a ConnectionFilter, services: &'a [ServiceView]) -> Self {
        Self { filter, services, kept: Vec::new(), counts: BTreeMap::new(), total: 0 }
    }

    /// Looks at one connection.
    pub fn take(&mut self, connection: Connection) {
        let Connection { vip, backend, state, .. } = connection;
        if self.filter.backend.is_some_and(|wanted| wanted != backend) {
            return;
        }
        let service = self.service_of(&connection);
        if self.filter.service.is_some() && self.filter.service.as_ref() != service {
            return;
        }
        let service = service.cloned();
        self.total += 1;
        let counts = self.counts.entry((vip, backend)).or_insert_with(|| BackendConnectionsView {
            service: service.clone(),
            vip,
            backend,
            opening: 0,
            open: 0,
            closing: 0,
            reset: 0,
        });
        *match state {
            ConnectionState::Opening => &mut counts.opening,
            ConnectionState::Open => &mut counts.open,
            ConnectionState::Closing => &mut counts.closing,
            ConnectionState::Reset => &mut counts.reset,
        } += 1;
        if self.kept.len() < self.filter.limit.min(MAX_ROWS) {
            self.kept.push(view(&connection, service));
        }
    }

    /// The one of its VIP; what the socket dataplane made was meant for a backend, and is of the first service that has it.
    fn service_of(&self, connection: &Connection) -> Option<&'a ServiceName> {
        let of_vip = |service: &&ServiceView| service.vip == connection.vip;
        let of_backend = |service: &&ServiceView| {
            connection.rescued && service.backends.iter().any(|b| b.address == connection.vip)
        };
        let found = self.services.iter().find(of_vip).or_else(|| self.services.iter().find(of_backend));
        found.map(|service| &service.name)
    }

    /// The answer; `None`: there is no table.
    pub fn finish(mut self, table: Option<Table>) -> ConnectionTableView {
        let Some(Table { dropped, counted, capacity }) = table else {
            return ConnectionTableView::default();
        };
        self.kept.sort_by_key(|kept| (kept.vip, kept.backend, kept.client, kept.port));
        let listed = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        ConnectionTableView {
            connections: self.kept,
            backends: self.counts.into_values().collect(),
            dropped,
            counted,
            total: self.total,
            truncated: listed < self.total,
            capacity: Some(capacity),
        }
    }
}

fn view(connection: &Connection, service: Option<ServiceName>) -> ConnectionView {
    let Connection { client, vip, backend, port, state, host, rescued, age, idle } = *connection;
    let (age_seconds, idle_seconds) = (age.as_secs(), idle.as_secs());
    ConnectionView { client, vip, service, backend, port, state, host, rescued, age_seconds, idle_seconds }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
