//! The loop: one event in, its effects out.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_core::{
    config::Config,
    control::{Controller, Effect, Event, Now, Pair, Signal},
    hosts::Entry,
    model::Health,
    state::State,
    view::TransitionView,
};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    AgentError, Ended,
    answers::Answers,
    followers::Followers,
    keepers::Kept,
    once::Progress,
    probers::Probers,
    publish::Published,
    reconcile::{Reconciled, Reconciler, Report},
    reload::{Asked, Moving},
    start::Signals,
};
use crate::{
    admin::{OperatorCall, Snapshot},
    cli::source::ConfigSource,
    dataplane::Opener,
    discovery::News,
    os::{alarm::Alarm, lock::AgentLock, supervisor},
    probe::{ProbeEvent, ProbeRequest},
};

/// Without a deadline of the controller the loop wakes this often.
const IDLE: Duration = Duration::from_secs(60);

/// A running agent.
pub(super) struct Agent {
    pub(super) controller: Controller,
    pub(super) source: ConfigSource,
    pub(super) config: Arc<Config>,
    pub(super) once: Option<Progress>,
    pub(super) inputs: Inputs,
    pub(super) outputs: Outputs,
    pub(super) answers: Answers,
    pub(super) moving: Moving,
    pub(super) published: Published,
    /// Whoever started the agent knows that the node is programmed.
    pub(super) told_ready: bool,
    /// Opens dataplanes.
    pub(super) opener: Opener,
    /// Held, not used; dropped last, after the reconciler has ended.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) lock: Option<AgentLock>,
}

/// Where events come from.
pub(super) struct Inputs {
    pub(super) probes: mpsc::Receiver<ProbeEvent>,
    /// What the kernel tells of the node's own traffic.
    pub(super) kernel_signals: mpsc::Receiver<(Pair, Signal)>,
    /// For the dataplanes to come.
    pub(super) signal_tx: mpsc::Sender<(Pair, Signal)>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) operators: mpsc::Receiver<OperatorCall>,
    /// What the cluster lists.
    pub(super) listed: mpsc::Receiver<News>,
    /// Keeps `operators` open where no server does.
    pub(super) _operator_tx: mpsc::Sender<OperatorCall>,
    pub(super) addresses: mpsc::Receiver<BTreeSet<IpAddr>>,
    pub(super) config_changed: mpsc::Receiver<()>,
    /// Interfaces or routes have changed.
    pub(super) network_changed: mpsc::Receiver<()>,
    pub(super) hosts_kept: watch::Receiver<Option<Kept>>,
    pub(super) state_kept: watch::Receiver<Option<Kept>>,
    pub(super) signals: Signals,
    /// For the next deadline.
    pub(super) alarm: Alarm,
}

/// Where effects go.
pub(super) struct Outputs {
    pub(super) probers: Probers,
    pub(super) followers: Followers,
    pub(super) reconciler: Reconciler,
    pub(super) hosts: watch::Sender<Option<Vec<Entry>>>,
    pub(super) look_at_hosts: mpsc::Sender<()>,
    pub(super) state: watch::Sender<Option<State>>,
    pub(super) snapshots: watch::Sender<Snapshot>,
    pub(super) transitions: broadcast::Sender<TransitionView>,
}

/// What woke the loop.
enum Wake {
    Event(Event),
    Report(Report),
    Operator(OperatorCall),
    Listed(News),
    Reload { forced: bool },
    Opened(Asked),
    Network,
    Kept,
    Stop,
}

impl Agent {
    /// Runs until a signal, or as long as `--once` takes.
    pub(super) async fn run(mut self) -> Result<Ended, AgentError> {
        self.publish();
        loop {
            if let Some(ended) = self.once_ended() {
                return ended;
            }
            self.tell_ready();
            match self.next().await? {
                Wake::Stop => {
                    tracing::info!("stopping; the kernel keeps the dataplane");
                    return Ok(Ended::Done);
                }
                Wake::Event(event) => self.handle(event),
                Wake::Report(report) => self.take_report(report),
                Wake::Operator(call) => self.operate(call),
                Wake::Listed(news) => self.take_news(news),
                Wake::Reload { forced } => self.reload(forced),
                Wake::Opened(asked) => self.take_opened(asked),
                Wake::Network => self.outputs.reconciler.look_again(),
                Wake::Kept => self.note_kept(),
            }
            self.publish();
        }
    }

    /// Tells systemd once that the node is programmed and every backend has its first verdict. Nobody need be up: a master's
    /// own apiserver is started by the kubelet that waits for this.
    fn tell_ready(&mut self) {
        if !self.told_ready && self.is_in_place() && self.controller.is_settled() {
            self.told_ready = true;
            supervisor::tell_ready();
        }
    }

    async fn next(&mut self) -> Result<Wake, AgentError> {
        let once = self.once.as_ref().map(Progress::due);
        let deadline = [self.controller.deadline(), once].into_iter().flatten().min();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + IDLE);
        let (inputs, moving) = (&mut self.inputs, &mut self.moving);
        inputs.alarm.reset(deadline).map_err(AgentError::system("set a timer"))?;
        let signals = &mut inputs.signals;
        Ok(tokio::select! {
            biased;
            _ = signals.terminate.recv() => Wake::Stop,
            _ = signals.interrupt.recv() => Wake::Stop,
            Some(event) = inputs.probes.recv() => Wake::Event(match event {
                ProbeEvent::Done { key, attempt, outcome } => Event::Probed { key, attempt, outcome },
                ProbeEvent::ConnectionLost { key, why } => Event::ConnectionLost { key, why },
                ProbeEvent::Silent { key, silence } => Event::Silent { key, silence },
            }),
            Some((pair, signal)) = inputs.kernel_signals.recv() => Wake::Event(Event::Signalled { pair, signal }),
            Some(report) = inputs.reports.recv() => Wake::Report(report),
            Some(call) = inputs.operators.recv() => Wake::Operator(call),
            Some(news) = inputs.listed.recv() => Wake::Listed(news),
            _ = signals.hangup.recv() => Wake::Reload { forced: true },
            Some(()) = inputs.config_changed.recv() => Wake::Reload { forced: false },
            asked = moving.opened() => Wake::Opened(asked),
            Some(addresses) = inputs.addresses.recv() => Wake::Event(Event::Addresses(addresses)),
            Some(()) = inputs.network_changed.recv() => Wake::Network,
            Ok(()) = inputs.hosts_kept.changed() => Wake::Kept,
            Ok(()) = inputs.state_kept.changed() => Wake::Kept,
            () = inputs.alarm.wait() => Wake::Event(Event::Tick),
        })
    }

    fn now() -> Now {
        Now { instant: Instant::now(), wall: Timestamp::now() }
    }

    pub(super) fn handle(&mut self, event: Event) {
        if let Event::Probed { key, attempt, .. } = &event {
            self.outputs.probers.ended(key, *attempt);
        }
        let effects = self.controller.handle(Self::now(), event);
        self.perform(effects);
    }

    /// Does what the controller decided.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        let outputs = &mut self.outputs;
        for effect in effects {
            match effect {
                Effect::StartProber(target) => outputs.probers.start(target),
                Effect::StopProber(key) => outputs.probers.stop(&key),
                Effect::Probe { key, attempt, doubted } => {
                    outputs.probers.probe(&key, ProbeRequest { attempt, doubted })
                }
                Effect::Program { desired, evict } => {
                    self.published.ordered = outputs.reconciler.order(desired, evict);
                }
                Effect::Persist(state) => _ = outputs.state.send_replace(Some(state)),
                Effect::Hosts(entries) => _ = outputs.hosts.send_replace(Some(entries)),
                Effect::Announce(transition) => {
                    log_transition(&transition);
                    // Nobody need be listening.
                    let _ = outputs.transitions.send(transition);
                }
                Effect::Answer { ticket, result } => {
                    self.answers.decided(ticket, self.published.ordered, *result);
                }
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Evicted(Ok(evicted)) if evicted.ended + evicted.failed == 0 => {}
            Report::Evicted(Ok(evicted)) => {
                tracing::info!(ended = evicted.ended, failed = evicted.failed, "ended connections");
            }
            Report::Evicted(Err(error)) => tracing::warn!("{error}"),
            Report::Switched(switched) => self.take_switched(switched),
            Report::Lacking { held } => self.open_lacking(held),
            Report::Reconciled(reconciled) => self.take_reconciled(reconciled),
        }
    }

    fn take_reconciled(&mut self, reconciled: Reconciled) {
        if reconciled.repaired > 0 {
            let repaired = reconciled.repaired;
            tracing::warn!(repaired, "somebody else changed the kernel's state; it is mended");
        }
        self.outputs.probers.retry_trust();
        // A mount over the hosts file raises no event; the keeper is busy if the place is taken.
        let _ = self.outputs.look_at_hosts.try_send(());
        let active = reconciled.counters.iter().map(|(pair, counted)| (*pair, counted.active)).collect();
        self.published.take(reconciled);
        self.answers.give(self.published.reported);
        self.handle(Event::Counted(active));
    }

    fn operate(&mut self, call: OperatorCall) {
        let ticket = self.answers.expected(call.reply);
        self.handle(Event::Operator { request: call.request, ticket });
        // A wish that changes nothing in the kernel has nothing to wait for.
        self.answers.give(self.published.reported);
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Listed { service, addresses } => {
                self.outputs.followers.listed(&service);
                self.handle(Event::Listed { service, addresses });
            }
            News::Failed { service, why } => self.outputs.followers.failed(&service, &why),
        }
    }

    fn note_kept(&mut self) {
        self.published.hosts = self.inputs.hosts_kept.borrow_and_update().clone();
        self.published.state = self.inputs.state_kept.borrow_and_update().clone();
    }

    fn publish(&mut self) {
        self.outputs.followers.tell(&self.controller);
        let complaints = self.outputs.probers.complaints().chain(self.outputs.followers.complaints());
        let complaints = complaints.chain(self.controller.ignored()).cloned().collect();
        let snapshot = self.published.snapshot(&self.controller, &self.config, Self::now(), complaints);
        self.outputs.snapshots.send_replace(snapshot);
    }
}

fn log_transition(transition: &TransitionView) {
    let TransitionView { at: _, service, address, from, to, reason } = transition;
    let reason = reason.as_deref().unwrap_or("ready");
    match to {
        Health::Dead => tracing::warn!(%service, backend = %address, %from, %to, reason, "backend is dead"),
        Health::Unknown | Health::Up | Health::Suspect | Health::NotReady => {
            tracing::info!(%service, backend = %address, %from, %to, reason, "backend changed");
        }
    }
}
