//! Ending connections that hang on a backend: sockets of this node's namespaces as everywhere, and clients of which only
//! packets are seen by a RST in the VIP's name.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Pair, Which},
    model::Scope,
};
use rustix::time::{ClockId, clock_gettime};

use super::kernel::{Entry, FlowMaps, ResetSender, Stage};
use crate::{
    dataplane::{DataplaneError, Evicted, elders::Elders, evict},
    os::sockdiag::TcpSocket,
};
use lb_common::packet::FLOW_HOST;

/// Ends connections.
pub struct Evictor {
    can_end_sockets: bool,
    resets: Option<ResetSender>,
    elders: Elders,
}

impl Evictor {
    /// Without CAP_NET_RAW clients that only packets are seen of learn nothing; see [`Evictor::can_reset`]. The kernel is asked
    /// about sockets now, which loads what it has for them: when a backend is down nothing has to wait for that.
    ///
    /// # Errors
    /// When the kernel does not answer about sockets.
    pub fn new() -> Result<Self, DataplaneError> {
        let can_end_sockets = evict::can_end_sockets()?;
        let resets = ResetSender::open();
        if let Err(error) = &resets {
            tracing::warn!(%error, "connections of other machines cannot be ended (CAP_NET_RAW)");
        }
        Ok(Self { can_end_sockets, resets: resets.ok(), elders: Elders::default() })
    }

    /// Whether processes of this node can be told.
    pub fn can_end_sockets(&self) -> bool {
        self.can_end_sockets
    }

    /// Whether forwarded clients can be told.
    pub fn can_reset(&self) -> bool {
        self.resets.is_some()
    }

    /// Ends what the evictions are about.
    pub fn evict(
        &mut self,
        flows: &mut FlowMaps,
        scope: Scope,
        evictions: &[Eviction],
    ) -> Result<Evicted, DataplaneError> {
        let pairs: BTreeSet<Pair> = evictions.iter().map(|eviction| eviction.pair).collect();
        let entries = flows.read(|entry| pairs.contains(&(entry.vip, entry.backend)))?;
        let mut evicted = match self.can_end_sockets {
            true => self.sockets(&entries, scope, evictions)?,
            false => Evicted::default(),
        };
        let now = since_boot();
        for entry in evictions.iter().flat_map(|eviction| forwarded(&entries, eviction, now)) {
            evicted += self.reset(flows, entry)?;
        }
        Ok(evicted)
    }

    fn sockets(
        &mut self,
        entries: &[Entry],
        scope: Scope,
        evictions: &[Eviction],
    ) -> Result<Evicted, DataplaneError> {
        let ends: BTreeMap<(SocketAddr, SocketAddr), Pair> =
            entries.iter().map(|e| ((e.client, e.vip), (e.vip, e.backend))).collect();
        let pair = |socket: &TcpSocket| ends.get(&(socket.own, socket.peer)).copied();
        evict::evict(&mut self.elders, scope, evictions, |diag| {
            let found = diag.connected(|socket| pair(socket).is_some())?;
            Ok(found.into_iter().filter_map(|socket| Some((pair(&socket)?, socket))).collect())
        })
    }

    fn reset(&self, flows: &mut FlowMaps, entry: &Entry) -> Result<Evicted, DataplaneError> {
        // What its client sends from now on is answered by the programs: there is no such connection.
        flows.forget(entry)?;
        let Some(resets) = &self.resets else {
            return Ok(Evicted { ended: 0, failed: 1 });
        };
        match resets.send(entry.vip, entry.client, entry.flow.to_client) {
            Ok(()) => Ok(Evicted { ended: 1, failed: 0 }),
            Err(error) => {
                tracing::debug!(client = %entry.client, vip = %entry.vip, %error, "failed to send a RST");
                Ok(Evicted { ended: 0, failed: 1 })
            }
        }
    }
}

/// The forwarded connections that an eviction is about. Of those that were begun in a silence none: what their clients send
/// again goes to another backend while it is not answered, and what was answered waits for the verdict.
fn forwarded<'a>(entries: &'a [Entry], eviction: &Eviction, now: Duration) -> Vec<&'a Entry> {
    let of_pair = |entry: &&Entry| {
        (entry.vip, entry.backend) == eviction.pair
            && entry.stage == Stage::Open
            && entry.flow.state & FLOW_HOST == 0
    };
    let found = entries.iter().filter(of_pair);
    match eviction.which {
        Which::All => found.collect(),
        Which::BegunSince(_) | Which::Elders { one: false, .. } => Vec::new(),
        Which::Elders { since, one: true } => {
            let age = Instant::now().saturating_duration_since(since);
            let elder = |entry: &&Entry| now.saturating_sub(Duration::from_nanos(entry.flow.begun)) > age;
            found.filter(elder).min_by_key(|entry| entry.flow.begun).into_iter().collect()
        }
    }
}

/// The clock of bpf_ktime_get_ns().
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
