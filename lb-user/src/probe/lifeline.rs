//! Keeps a [`Pulse`] for a backend that answers probes, and makes it anew before it is too old.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{connection::Sign, dial, plan::Plan, pulse::Pulse};

/// The age at which one is replaced: sooner than kube-apiserver ends it, 90 s (http.Server's IdleTimeout in
/// k8s.io/apiserver/pkg/server/secure_serving.go). Chance takes off up to a quarter, so that nodes do not do it together.
const AGE: Duration = Duration::from_secs(80);
/// From one that could not be made, or soon ended, to the next.
const RETRY: Duration = Duration::from_secs(20);

/// The longest delay, in heartbeats. 5,000 nodes make a handshake for their probes at that time as well: with a tenth of this
/// delay the last of them would wait twice as long, and longer than a probe may take (docs/scale.md).
const DELAY: u32 = 10;

type Dialling = Pin<Box<dyn Future<Output = Option<Pulse>> + Send>>;

/// The connection for PINGs, while there is one.
pub(super) struct Lifeline {
    plan: Arc<Plan>,
    pulse: Option<Pulse>,
    dialling: Option<Dialling>,
    /// When the next one is made, at an answer.
    due: Instant,
    /// The longest that chance delays it: not in the beginning, but later, since all nodes make one when a backend is back.
    delay: Duration,
}

impl Lifeline {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, pulse: None, dialling: None, due: Instant::now(), delay: Duration::ZERO }
    }

    /// The backend has answered a probe.
    pub(super) fn answered(&mut self) {
        if let Some(pulse) = &mut self.pulse {
            pulse.heard();
        }
        let now = Instant::now();
        if let Some(interval) = self.plan.heartbeat
            && self.plan.has_tls()
            && self.dialling.is_none()
            && now >= self.due
        {
            self.due = now + RETRY;
            self.dialling = Some(Box::pin(make(Arc::clone(&self.plan), interval, self.delay)));
            self.delay = interval * DELAY;
        }
    }

    /// A probe was not answered. Whether it is told when the backend is heard of again.
    pub(super) fn stalled(&mut self) -> bool {
        self.pulse.as_mut().map(Pulse::stalled).is_some()
    }

    /// Our end of the connection.
    pub(super) fn own(&self) -> Option<SocketAddr> {
        self.pulse.as_ref().and_then(Pulse::own)
    }

    /// When the connection was made.
    pub(super) fn made(&self) -> Option<Instant> {
        self.pulse.as_ref().map(Pulse::made)
    }

    /// Waits for what the connection tells; without one, for ever. May be dropped and called again.
    pub(super) async fn sign(&mut self) -> Sign {
        loop {
            tokio::select! {
                biased;
                made = dialled(&mut self.dialling) => {
                    self.dialling = None;
                    if made.is_some() {
                        self.pulse = made;
                        self.due = Instant::now() + AGE.mul_f64(1.0 - fastrand::f64() / 4.0);
                    }
                }
                sign = beat(&mut self.pulse) => return sign,
            }
        }
    }

    /// Forgets the connection, which is over. The next one is made soon, but not at once again and again.
    pub(super) fn lose(&mut self) {
        if let Some(pulse) = self.pulse.take() {
            self.due = self.due.min(pulse.made() + RETRY);
        }
    }
}

/// Makes a connection after a moment of chance. `None`: it did not come about, or the backend does not speak HTTP/2.
async fn make(plan: Arc<Plan>, heartbeat: Duration, delay: Duration) -> Option<Pulse> {
    sleep(delay.mul_f64(fastrand::f64())).await;
    timeout(plan.timeout, dial::pulse(&plan, heartbeat)).await.ok()?
}

async fn dialled(dialling: &mut Option<Dialling>) -> Option<Pulse> {
    match dialling {
        Some(dialling) => dialling.await,
        None => std::future::pending().await,
    }
}

async fn beat(pulse: &mut Option<Pulse>) -> Sign {
    match pulse {
        Some(pulse) => pulse.sign().await,
        None => std::future::pending().await,
    }
}
