//! Probing: one task per backend, which owns two persistent connections.
//!
//! The task answers requests for a probe over the one that it keeps, by HTTP/1.1, dials anew when there is none, and watches
//! it in between: a crash of the backend closes it long before the next probe is due. Over the other one it sends HTTP/2
//! PINGs, where the backend speaks that: see [`pulse`] for why not over one connection.
//! Nothing here decides anything: outcomes go to the agent, and verdicts are made in [`lb_core`].

mod attempt;
mod connection;
mod dial;
mod failure;
mod heartbeat;
mod http1;
mod lifeline;
mod patience;
mod plan;
mod pulse;
mod tcp;
pub mod tls;
mod vigil;

pub use vigil::Mistaken;

use std::{mem, net::SocketAddr, pin::pin, sync::Arc};

use lb_core::{
    model::BackendKey,
    probe::{Failure, HostSign, ProbeOutcome, ProbeTarget, Silence},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, Instant, sleep},
};

use self::{
    attempt::Attempts,
    connection::{Connection, Sign},
    lifeline::Lifeline,
    patience::Patience,
    plan::Plan,
    tls::TlsSettings,
    vigil::Vigil,
};

/// A connection that ends sooner than this after it was made was brief. See [`Prober`].
const BRIEF: Duration = Duration::from_secs(1);

/// What a prober tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEvent {
    /// A probe is over.
    Done {
        /// Whose.
        key: BackendKey,
        /// The number it was asked for with.
        attempt: u64,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// An answer is missed. Told again and again until it comes, or is no news any more.
    Silent {
        /// Whose.
        key: BackendKey,
        /// Since when, and what the host says meanwhile.
        silence: Silence,
    },
    /// The kept connection ended between two probes, and not by us: worth a probe at once.
    ConnectionLost {
        /// Whose.
        key: BackendKey,
        /// How it ended; the phase, where there is one, is [`lb_core::probe::Phase::Idle`].
        why: Failure,
    },
}

/// A probe that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Comes back with [`ProbeEvent::Done`].
    pub attempt: u64,
    /// Whether the node's own traffic waits for the backend: then its answer is missed sooner.
    pub doubted: bool,
}

/// The handle of one backend's prober. Dropping it ends the task and closes the connection, also amid a probe.
///
/// A lost connection is told once: if the connection before it had been brief as well, the loss of a brief one is not
/// told. So a backend that closes each connection at once is probed once more, and not in a loop without end.
#[derive(Debug)]
pub struct Prober {
    requests: watch::Sender<ProbeRequest>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Starts the prober of one backend; nothing is sent before the first [`Self::probe`].
    ///
    /// `tls` is needed for an https check and not looked at otherwise. A target that cannot be probed at all (no TLS
    /// settings, a path that is none) has [`ProbeOutcome::Inconclusive`] probes, with the reason. The task ends by
    /// itself when the receiver of `events` is gone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(target: ProbeTarget, tls: Option<TlsSettings>, events: mpsc::Sender<ProbeEvent>) -> Self {
        Self::spawn_beside(target, tls, events, Mistaken::default())
    }

    /// As [`Self::spawn`], where some sockets only seem to talk to the backend.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn spawn_beside(
        target: ProbeTarget,
        tls: Option<TlsSettings>,
        events: mpsc::Sender<ProbeEvent>,
        mistaken: Mistaken,
    ) -> Self {
        let (requests, asked) = watch::channel(ProbeRequest::default());
        let (key, vigil) = (target.key.clone(), Vigil::new(target.address(), mistaken));
        let plan = Arc::new(Plan::new(target, tls));
        let watcher = Watcher {
            key,
            attempts: Attempts::new(Arc::clone(&plan)),
            kept: None,
            was_brief: false,
            patience: plan.patience,
            lifeline: Lifeline::new(plan),
            stalled: false,
            vigil,
            answers: false,
        };
        Self { requests, task: tokio::spawn(watcher.run(asked, events)) }
    }

    /// Asks for a probe; never waits. One is made at a time: of the requests that come while one is under way only
    /// the last is remembered, and made when that one is over.
    pub fn probe(&self, request: ProbeRequest) {
        self.requests.send_replace(request);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection between two probes.
struct Kept {
    connection: Connection,
    /// Our end of it.
    own: Option<SocketAddr>,
    made: Instant,
    /// How often its answer was not waited for any longer.
    stalls: u32,
}

impl Kept {
    /// Whether a probe is made on it rather than on a fresh one. One that has stalled is waited for once more where its host
    /// has taken the question: then the process is held up, and fresh connections would only be more to do for it
    /// afterwards.
    fn is_of_use(&self, backend: SocketAddr) -> bool {
        match self.stalls {
            0 => true,
            1 => self.own.is_some_and(|own| vigil::is_acknowledged(own, backend)),
            _ => false,
        }
    }
}

/// The task behind a [`Prober`].
struct Watcher {
    key: BackendKey,
    attempts: Attempts,
    kept: Option<Kept>,
    /// Whether the last connection that was lost had been brief.
    was_brief: bool,
    patience: Patience,
    lifeline: Lifeline,
    /// Whether a probe was given up since the backend was last heard of.
    stalled: bool,
    vigil: Vigil,
    /// Whether the last probe was answered: only then is silence news.
    answers: bool,
}

impl Watcher {
    async fn run(mut self, mut asked: watch::Receiver<ProbeRequest>, events: mpsc::Sender<ProbeEvent>) {
        loop {
            let event = tokio::select! {
                biased;
                why = ending(&mut self.kept) => {
                    self.vigil.end();
                    let made = self.kept.take().map(|kept| kept.made);
                    self.lost(made, why)
                }
                sign = self.lifeline.sign() => self.take(sign),
                silence = self.vigil.next() => Some(ProbeEvent::Silent { key: self.key.clone(), silence }),
                request = asked.changed() => {
                    if request.is_err() {
                        return;
                    }
                    let request = *asked.borrow_and_update();
                    self.probe(request, &events).await
                }
            };
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }

    /// `None`: nobody listens any more.
    async fn probe(
        &mut self,
        request: ProbeRequest,
        events: &mpsc::Sender<ProbeEvent>,
    ) -> Option<ProbeEvent> {
        let Self { key, attempts, kept, was_brief, patience, lifeline, stalled, vigil, answers } = self;
        let ProbeRequest { attempt, doubted } = request;
        let own = kept.as_ref().and_then(|kept| kept.own);
        let since = Instant::now().into_std();
        let patience_for_it = if doubted { patience.in_doubt() } else { patience.allowed() };
        let mut outcome = pin!(attempts.make(kept, was_brief, lifeline.made().is_some()));
        let mut missed = pin!(sleep(patience_for_it));
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => break outcome,
                () = &mut missed, if *answers && !missed.is_elapsed() => vigil.begin(since, own),
                silence = vigil.next() => {
                    events.send(ProbeEvent::Silent { key: key.clone(), silence }).await.ok()?;
                }
            }
        };
        match &outcome {
            ProbeOutcome::Ready { latency }
            | ProbeOutcome::Denied { latency, .. }
            | ProbeOutcome::NotReady { latency, .. } => {
                patience.took(*latency);
                *answers = true;
                *stalled = false;
                lifeline.answered();
                vigil.end();
            }
            ProbeOutcome::Failed(why) => {
                *answers = false;
                if why.is_prompt() {
                    vigil.end();
                } else {
                    *stalled = lifeline.stalled();
                }
            }
            ProbeOutcome::Inconclusive { .. } => {}
        }
        Some(ProbeEvent::Done { key: key.clone(), attempt, outcome })
    }

    fn take(&mut self, sign: Sign) -> Option<ProbeEvent> {
        match sign {
            Sign::Over(why) => {
                let made = self.lifeline.made();
                self.lifeline.lose();
                // The connection that probes are made on tells more; a server may well end an idle one.
                if self.kept.is_some() {
                    return None;
                }
                self.vigil.end();
                self.lost(made, why)
            }
            Sign::Missed(since) => {
                self.vigil.begin(since, self.lifeline.own());
                None
            }
            Sign::Answered => {
                let since = self.vigil.end();
                let heard = Instant::now().into_std();
                let silence = Silence { since: since.unwrap_or(heard), host: HostSign::Serving { heard } };
                let stalled = mem::take(&mut self.stalled);
                stalled.then(|| ProbeEvent::Silent { key: self.key.clone(), silence })
            }
        }
    }

    fn lost(&mut self, made: Option<Instant>, why: Failure) -> Option<ProbeEvent> {
        let brief = made.is_some_and(|made| made.elapsed() < BRIEF);
        let told = !(brief && self.was_brief);
        self.was_brief = brief;
        told.then(|| ProbeEvent::ConnectionLost { key: self.key.clone(), why })
    }
}

/// Waits for the end of the kept connection; without one, for ever.
async fn ending(kept: &mut Option<Kept>) -> Failure {
    match kept {
        Some(kept) => kept.connection.ending().await,
        None => std::future::pending().await,
    }
}
