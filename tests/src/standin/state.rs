//! What the stand-in does at the moment, and what it has counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::cluster::Cluster;

/// A way in which a backend can be broken without being dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Misbehaviour {
    /// Behaves.
    None,
    /// Accepts each connection and closes it at once.
    AcceptClose,
    /// Answers the first bytes of each connection with bytes that are neither TLS nor HTTP.
    Garbage,
    /// `/readyz` answers 200 with a body that never ends.
    EndlessBody,
    /// Every path answers 302 to another place.
    Redirect,
    /// Every path answers 401, as an apiserver does with `--anonymous-auth=false`.
    Unauthorized,
    /// Every path answers 500.
    Error500,
    /// Ends each connection after its first answer: GOAWAY on HTTP/2, `connection: close` on HTTP/1.1.
    Goaway,
}

/// Shared by all connections and the control socket.
pub(super) struct State {
    pub(super) name: String,
    misbehaviour: Mutex<Misbehaviour>,
    readyz_status: AtomicU16,
    delay_ms: AtomicU64,
    readyz_paused: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    accepted: AtomicU64,
    open: watch::Sender<u64>,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    cluster: watch::Sender<Cluster>,
}

impl State {
    pub(super) fn new(name: String, misbehaviour: Misbehaviour) -> Self {
        Self {
            name,
            misbehaviour: Mutex::new(misbehaviour),
            readyz_status: AtomicU16::new(200),
            delay_ms: AtomicU64::new(0),
            readyz_paused: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            accepted: AtomicU64::new(0),
            open: watch::Sender::new(0),
            requests: Mutex::new(BTreeMap::new()),
            cluster: watch::Sender::new(Cluster::default()),
        }
    }

    pub(super) fn misbehaviour(&self) -> Misbehaviour {
        *lock(&self.misbehaviour)
    }

    pub(super) fn set_misbehaviour(&self, misbehaviour: Misbehaviour) {
        *lock(&self.misbehaviour) = misbehaviour;
    }

    pub(super) fn readyz_status(&self) -> StatusCode {
        StatusCode::from_u16(self.readyz_status.load(Relaxed)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn set_readyz_status(&self, status: StatusCode) {
        self.readyz_status.store(status.as_u16(), Relaxed);
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Relaxed))
    }

    pub(super) fn set_delay_ms(&self, ms: u64) {
        self.delay_ms.store(ms, Relaxed);
    }

    /// What it lists of its kind.
    pub(super) fn cluster(&self) -> &watch::Sender<Cluster> {
        &self.cluster
    }

    pub(super) fn pause_readyz(&self, paused: bool) {
        self.readyz_paused.send_replace(paused);
    }

    /// Returns once `/readyz` is not paused.
    pub(super) async fn readyz_resumed(&self) {
        wait_until(&self.readyz_paused, |paused| !paused).await;
    }

    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns once the process was asked to end.
    pub(super) async fn stopped(&self) {
        wait_until(&self.stopping, |stopping| *stopping).await;
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connection(&self) -> OpenConnection<'_> {
        self.accepted.fetch_add(1, Relaxed);
        self.open.send_modify(|open| *open += 1);
        OpenConnection(self)
    }

    /// Returns once no connection is open.
    pub(super) async fn all_closed(&self) {
        wait_until(&self.open, |open| *open == 0).await;
    }

    /// Counts a request; `path` is one of the known paths, so the map stays small.
    pub(super) fn count(&self, path: &'static str) {
        *lock(&self.requests).entry(path).or_default() += 1;
    }

    /// `{"name", "accepted", "open", "requests": {path: n}}`.
    pub(super) fn stats(&self) -> Value {
        json!({
            "name": self.name,
            "accepted": self.accepted.load(Relaxed),
            "open": *self.open.borrow(),
            "requests": *lock(&self.requests),
        })
    }
}

/// Keeps a connection in the count of open ones.
pub(super) struct OpenConnection<'a>(&'a State);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

async fn wait_until<T>(sender: &watch::Sender<T>, wanted: impl FnMut(&T) -> bool) {
    // An error means that the sender is gone, which `sender` itself rules out.
    let _ = sender.subscribe().wait_for(wanted).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
