//! Who was connected when a rebalancing began: only those are ended by it, and each once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use lb_core::control::{Eviction, Pair, Which};

use super::evict::Hanging;
use crate::os::sockdiag::TcpSocket;

/// What the kernel knows a socket by.
type Cookie = [u8; 8];

/// The connections of each pair that were there when its last rebalancing began, less those that were ended by it. They
/// are noted when it is told of for the first time. Bounded by the number of connections then.
#[derive(Debug, Default)]
pub struct Elders(BTreeMap<Pair, (Instant, BTreeSet<Cookie>)>);

/// One step of rebalancings, in all network namespaces.
pub(super) struct Step<'a>(Mutex<Vec<OfPair<'a>>>);

struct OfPair<'a> {
    pair: Pair,
    /// Noted now.
    new: bool,
    /// Whether one is still to be ended.
    one: bool,
    cookies: &'a mut BTreeSet<Cookie>,
}

impl Elders {
    pub(super) fn step(&mut self, evictions: &[Eviction]) -> Step<'_> {
        let told: BTreeMap<_, _> = evictions
            .iter()
            .filter_map(|Eviction { pair, which }| match which {
                Which::Elders { since, one } => Some((*pair, (*since, *one))),
                Which::BegunSince(_) | Which::All => None,
            })
            .collect();
        let known = |(pair, (since, _)): (&Pair, &(Instant, bool))| {
            self.0.get(pair).is_some_and(|(noted, _)| noted == since).then_some(*pair)
        };
        let old: BTreeSet<_> = told.iter().filter_map(known).collect();
        for (pair, (since, _)) in told.iter().filter(|(pair, _)| !old.contains(pair)) {
            self.0.insert(*pair, (*since, BTreeSet::new()));
        }
        let step = self.0.iter_mut().filter_map(|(pair, (_, cookies))| {
            let (_, one) = told.get(pair)?;
            Some(OfPair { pair: *pair, new: !old.contains(pair), one: *one, cookies })
        });
        Step(Mutex::new(step.collect()))
    }
}

impl Step<'_> {
    /// Those of one namespace that are ended: one of each pair at most, counted over all of them.
    pub(super) fn among<'a>(&self, found: &'a [Hanging]) -> Vec<&'a TcpSocket> {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen = Vec::new();
        for OfPair { pair, new, one, cookies } in pairs.iter_mut() {
            let mut sockets = found.iter().filter(|(own, _)| own == pair).map(|(_, socket)| socket);
            if *new {
                cookies.extend(sockets.map(TcpSocket::cookie));
            } else if *one && let Some(elder) = sockets.find(|socket| cookies.remove(&socket.cookie())) {
                *one = false;
                chosen.push(elder);
            }
        }
        chosen
    }
}
