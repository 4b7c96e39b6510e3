//! Ending the sockets that hang on a dead backend, so that their owners reconnect at once.
//!
//! A socket only knows that it talks to the VIP; IPVS's table knows to which backend. Since Linux 5.9 the kernel forgets
//! the connections of a destination as soon as that is taken away, so they are written down before.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Pair},
    model::Scope,
};

use super::{
    connections::{self, Connection},
    error::failed,
};
use crate::{
    dataplane::{DataplaneError, Evicted, elders::Elders, evict},
    os::sockdiag::TcpSocket,
};

/// How long connections are kept in mind whose destination was taken away. The order to end them comes at once; later a
/// client may use the same port for a new connection.
const MEMORY: Duration = Duration::from_secs(5);

/// Connections whose destination was taken away. Bounded by [`connections::read`] for each destination, and in time.
#[derive(Debug, Default)]
pub struct Severed(Vec<(Instant, BTreeSet<Connection>)>);

impl Severed {
    /// Writes down the connections of a pair. Its destination takes no new ones any more.
    pub fn remember(&mut self, pair: Pair) -> io::Result<()> {
        self.0.retain(|(since, _)| since.elapsed() < MEMORY);
        let found = connections::read(|other| *other == pair)?;
        if !found.is_empty() {
            self.0.push((Instant::now(), found));
        }
        Ok(())
    }

    /// Gives the connections of some pairs, once.
    fn take(&mut self, pairs: &[Pair]) -> BTreeSet<Connection> {
        let mut taken = BTreeSet::new();
        for (since, connections) in &mut self.0 {
            let (these, others) =
                mem::take(connections).into_iter().partition(|connection| pairs.contains(&connection.pair));
            *connections = others;
            let these: BTreeSet<_> = these;
            if since.elapsed() < MEMORY {
                taken.extend(these);
            }
        }
        self.0.retain(|(_, connections)| !connections.is_empty());
        taken
    }
}

/// Ends the sockets that talk through one of the VIPs to the backend beside it, in this network namespace or in all of
/// them, as far as an eviction is about them.
pub fn evict(
    (severed, elders): (&mut Severed, &mut Elders),
    scope: Scope,
    evictions: &[Eviction],
) -> Result<Evicted, DataplaneError> {
    let pairs: Vec<_> = evictions.iter().map(|eviction| eviction.pair).collect();
    let mut connections = severed.take(&pairs);
    let held = connections::read(|pair| pairs.contains(pair));
    connections.extend(held.map_err(failed("read", "IPVS's table of connections"))?);
    let ends: BTreeMap<_, _> = connections.iter().map(|c| ((c.client, c.pair.0), c.pair)).collect();
    if ends.is_empty() {
        return Ok(Evicted::default());
    }
    evict::evict(elders, scope, evictions, |diag| {
        let pair = |socket: &TcpSocket| ends.get(&(socket.own, socket.peer)).copied();
        let found = diag.connected(|socket| pair(socket).is_some())?;
        Ok(found.into_iter().filter_map(|socket| Some((pair(&socket)?, socket))).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 0, n], 6443))
    }

    fn connection(backend: u8, client: u8) -> Connection {
        Connection { pair: (at(100), at(backend)), client: at(client) }
    }

    #[test]
    fn what_is_remembered_is_given_once_and_only_for_its_pairs() {
        let both = BTreeSet::from([connection(1, 10), connection(2, 11)]);
        let mut severed = Severed(vec![(Instant::now(), both)]);
        assert_eq!(severed.take(&[(at(100), at(1))]), BTreeSet::from([connection(1, 10)]));
        assert_eq!(severed.take(&[(at(100), at(1))]), BTreeSet::new());
        assert_eq!(severed.take(&[(at(100), at(2))]), BTreeSet::from([connection(2, 11)]));
        assert!(severed.0.is_empty());
    }

    #[test]
    fn what_is_old_is_not_given_any_more() {
        let long_ago = Instant::now().checked_sub(MEMORY).unwrap();
        let mut severed = Severed(vec![(long_ago, BTreeSet::from([connection(1, 10)]))]);
        assert_eq!(severed.take(&[(at(100), at(1))]), BTreeSet::new());
    }
}
