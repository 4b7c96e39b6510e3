//! Counting what became of attempts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dial::Failure;
use super::exchange::Served;
use super::millis;

/// Outcomes of attempts; all times are milliseconds since `started`, taken when the attempt began.
pub(super) struct Tally {
    started: Instant,
    ok: u64,
    failed: u64,
    served: BTreeMap<String, Server>,
    peers: BTreeMap<String, u64>,
    errors: BTreeMap<Failure, Failed>,
    slowest_connect: Duration,
    slowest: Duration,
    last_success: Instant,
    longest_without_success: Duration,
}

#[derive(Clone, Copy)]
struct Server {
    count: u64,
    last_ms: u64,
}

struct Failed {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

impl Tally {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            ok: 0,
            failed: 0,
            served: BTreeMap::new(),
            peers: BTreeMap::new(),
            errors: BTreeMap::new(),
            slowest_connect: Duration::ZERO,
            slowest: Duration::ZERO,
            last_success: started,
            longest_without_success: Duration::ZERO,
        }
    }

    /// Counts an attempt that began at `began` and ends now.
    pub(super) fn record(&mut self, began: Instant, outcome: Result<Served, Failure>) {
        self.slowest = self.slowest.max(began.elapsed());
        match outcome {
            Ok(served) => {
                self.succeed();
                self.slowest_connect = self.slowest_connect.max(served.connect);
                *self.peers.entry(served.peer.to_string()).or_default() += 1;
                let at = self.at(began);
                let server = self.served.entry(served.by).or_insert(Server { count: 0, last_ms: at });
                server.count += 1;
                server.last_ms = server.last_ms.max(at);
            }
            Err(failure) => {
                self.failed += 1;
                let at = self.at(began);
                let failed =
                    self.errors.entry(failure).or_insert(Failed { count: 0, first_ms: at, last_ms: at });
                failed.count += 1;
                failed.first_ms = failed.first_ms.min(at);
                failed.last_ms = failed.last_ms.max(at);
            }
        }
    }

    /// Counts a success that reached no server's application.
    pub(super) fn record_bare(&mut self, began: Instant, peer: String, connect: Duration) {
        self.slowest = self.slowest.max(began.elapsed());
        self.slowest_connect = self.slowest_connect.max(connect);
        self.succeed();
        *self.peers.entry(peer).or_default() += 1;
    }

    /// The result so far, as the subcommands print it.
    pub(super) fn report(&self) -> Value {
        let silence = self.longest_without_success.max(self.last_success.elapsed());
        let errors: BTreeMap<_, _> = self
            .errors
            .iter()
            .map(|(kind, failed)| {
                let Failed { count, first_ms, last_ms } = failed;
                (kind.to_string(), json!({"count": count, "firstMs": first_ms, "lastMs": last_ms}))
            })
            .collect();
        json!({
            "ok": self.ok,
            "failed": self.failed,
            "served": self.counts(),
            "lastServedMs": self.served.iter().map(|(name, server)| (name, server.last_ms)).collect::<BTreeMap<_, _>>(),
            "peers": self.peers,
            "errors": errors,
            "slowestConnectMs": millis(self.slowest_connect),
            "slowestMs": millis(self.slowest),
            "longestWithoutSuccessMs": millis(silence),
        })
    }

    /// `{"atMs", "ok", "failed", "served"}`: cumulative, for watching a run.
    pub(super) fn progress(&self) -> Value {
        json!({
            "atMs": millis(self.started.elapsed()),
            "ok": self.ok,
            "failed": self.failed,
            "served": self.counts(),
        })
    }

    fn counts(&self) -> BTreeMap<&String, u64> {
        self.served.iter().map(|(name, server)| (name, server.count)).collect()
    }

    fn succeed(&mut self) {
        self.ok += 1;
        self.longest_without_success = self.longest_without_success.max(self.last_success.elapsed());
        self.last_success = Instant::now();
    }

    fn at(&self, moment: Instant) -> u64 {
        millis(moment.saturating_duration_since(self.started))
    }
}
