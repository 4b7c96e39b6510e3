//! How healthy a backend is: one [`Machine`] per backend, fed with the outcomes of its probes.
//!
//! | state | ready | not ready | failure |
//! |---|---|---|---|
//! | unknown | up | not ready | dead; taken over: as if it was up |
//! | up | up | not ready at the second in a row (`fall: 1`: at once) | suspect, or dead by the rule below |
//! | suspect | up | not ready | suspect, or dead by the rule below |
//! | not ready | up after `rise` in a row | not ready | not ready, or dead by the rule below |
//! | dead | up after `rise` in a row | not ready | dead |
//!
//! * Dead takes `fall` failures in a row. If the last of them is a timeout, it also takes `dead_after` without an
//!   answer to what was asked, because a host that is silent may only be overloaded; what a backend says itself (refused, reset, a bad
//!   certificate) is believed.
//! * A backend that was never up and not taken over is up with its first success.
//! * An inconclusive probe changes nothing but the schedule.
//!
//! Silence is noticed between probes as well, see [`silence`]: it makes suspect, and kills where the host is gone.
//!
//! Time to notice, from the fault to dead: at most `fall * interval + timeout`, or `dead_after` where that is longer.
//! The first probe after the fault starts within an interval, and the others follow each other no slower. From
//! healthy again to up: at most `rise * interval + timeout`.

mod schedule;
mod silence;
mod state;
#[cfg(test)]
mod tests;

use std::{
    mem,
    time::{Duration, Instant},
};

pub use silence::{free_after, gone_after, patience};

use schedule::{LossBudget, Pace, Schedule, jittered};
use state::{Doubt, Facts, Run, State, Trend};

use crate::{
    model::Health,
    probe::{CheckKind, Failure, HealthCheck, ProbeOutcome, Silence},
};

/// A change of a backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is now. Never equal to `from`.
    pub to: Health,
    /// What brought it about, for example `connect: connection refused`.
    pub reason: String,
}

/// The health of one backend, and when to probe it.
///
/// The caller starts a probe when [`next_probe`](Self::next_probe) has come, tells so with
/// [`probe_started`](Self::probe_started), and brings the outcome to [`probed`](Self::probed). It also calls
/// [`expire`](Self::expire) when [`verdict_due`](Self::verdict_due) has come.
#[derive(Clone, Debug)]
pub struct Machine {
    check: HealthCheck,
    state: State,
    /// When `state` became the health that it is.
    since: Instant,
    /// The last answer of any kind; before the first, when the machine began.
    last_answer: Instant,
    latency: Option<Duration>,
    /// What was told last since the last answer.
    silence: Option<Silence>,
    /// When it last sent this node anything else than an answer, where that was told.
    heard: Option<Instant>,
    adopted: bool,
    ever_up: bool,
    /// When it was up again after it was down; not after mere suspicion.
    recovered: Option<Instant>,
    accepts_tcp: bool,
    trusted: bool,
    schedule: Schedule,
    /// How much sooner the next probe may start if there is an occasion.
    slack: Duration,
    /// Which part of an interval the first steady wait takes; `None`: that was, or takes all of it.
    first_wait: Option<f64>,
    losses: LossBudget,
    signals: LossBudget,
    /// Whether the node's own traffic waits for it; until the next probe starts.
    doubted: bool,
    rng: fastrand::Rng,
}

impl Machine {
    /// A backend that nothing is known about. Its first probe is due at once. `seed` spreads the later ones.
    pub fn new(check: &HealthCheck, now: Instant, seed: u64) -> Self {
        Self {
            check: check.clone(),
            state: State::Unknown,
            since: now,
            last_answer: now,
            latency: None,
            silence: None,
            heard: None,
            adopted: false,
            ever_up: false,
            recovered: None,
            accepts_tcp: false,
            trusted: true,
            schedule: Schedule::Due(now),
            slack: Duration::ZERO,
            first_wait: None,
            losses: LossBudget::new(now),
            signals: LossBudget::new(now),
            doubted: false,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// A backend that was serving in a running kernel state: unknown, but it keeps its place until the first verdict,
    /// and is as hard to kill as one that was up.
    pub fn adopted(check: &HealthCheck, now: Instant, seed: u64) -> Self {
        Self { adopted: true, ..Self::new(check, now, seed) }
    }

    /// Makes the first steady wait this part of an interval, from 0 to 1: a node's share of chance, so that nodes that
    /// begin together do not go on probing together. The backends of one node have the same one: they share wake-ups.
    #[must_use]
    pub fn with_first_wait(mut self, part: f64) -> Self {
        self.first_wait = Some(part);
        self
    }

    /// Takes the numbers of a new configuration and keeps the state. A new question is asked at once.
    pub fn retune(&mut self, check: &HealthCheck, now: Instant) {
        if self.check.kind != check.kind {
            self.schedule.hurry(now);
        }
        self.check = check.clone();
        if let Schedule::Due(at) = &mut self.schedule {
            *at = (*at).min(now + jittered(check.interval, &mut self.rng));
        }
    }

    /// When to start the next probe; `None` while one is under way.
    pub fn next_probe(&self) -> Option<Instant> {
        match self.schedule {
            Schedule::Due(at) => Some(at),
            Schedule::UnderWay { .. } => None,
        }
    }

    /// Whether the next probe may start along with another backend's: it is due within the slack that steady probing
    /// leaves. One wake-up for three backends costs a node a third of three.
    pub fn may_join(&self, now: Instant) -> bool {
        self.next_probe().is_some_and(|at| at <= now + self.slack)
    }

    /// A probe has been started. Nothing changes if one is under way already. Tells whether the node's own traffic waits
    /// for the backend.
    pub fn probe_started(&mut self, now: Instant) -> bool {
        if let Schedule::Due(_) = self.schedule {
            self.schedule = Schedule::UnderWay { started: now, again: false };
        }
        mem::take(&mut self.doubted)
    }

    /// The probe under way has come to its end. An outcome without a probe is ignored.
    pub fn probed(&mut self, now: Instant, outcome: &ProbeOutcome) -> Option<Transition> {
        let Schedule::UnderWay { started, again } = self.schedule else { return None };
        self.observe(now, outcome);
        let next = self.state.after(outcome, self.facts(now));
        let transition = self.enter(next, now);
        let pace = Pace::after(outcome, &self.state, self.is_established());
        let due = match self.first_wait.take_if(|_| pace == Pace::Steady) {
            Some(part) => (started + self.check.interval.mul_f64(part)).max(now),
            None => pace.due(started, now, self.check.interval, &mut self.rng),
        };
        self.schedule = Schedule::Due(if again { now } else { due });
        self.slack = pace.slack(self.check.interval);
        transition
    }

    /// When [`expire`](Self::expire) is to be called: there were enough timeouts, and only the silence is not long
    /// enough yet. `None` while there is nothing to wait for.
    pub fn verdict_due(&self) -> Option<Instant> {
        let streak = self.state.streak()?;
        let enough = streak.failures >= self.check.fall && !streak.last.is_prompt();
        enough.then(|| self.silent_since() + self.check.dead_after)
    }

    /// Gives the verdict that has come due, if it has. A probe under way goes on.
    pub fn expire(&mut self, now: Instant) -> Option<Transition> {
        if self.verdict_due()? > now {
            return None;
        }
        let next = self.state.after_silence(self.facts(now));
        self.enter(next, now)
    }

    /// The kept connection was closed or reset: a probe starts at once or, where one is
    /// under way, right after it. A backend that closes each connection gains no more than one probe per interval.
    /// A connection that broke in a probe needs no mention: the outcome says so.
    pub fn connection_lost(&mut self, now: Instant, why: &Failure) {
        if !self.schedule.is_hurried(now) && self.losses.take(now, self.check.interval) {
            self.schedule.hurry(now);
        }
        if let State::Up { doubt: doubt @ None } = &mut self.state {
            *doubt = Some(Doubt::Lost(why.clone()));
        }
    }

    /// The verdict.
    pub fn health(&self) -> Health {
        self.state.health()
    }

    /// Whether it is dead, and has answered the last probe.
    pub fn is_returning(&self) -> bool {
        matches!(self.state, State::Dead { run: Run::Successes(_), .. })
    }

    /// Whether it owes no answer that is missed, and its last one was in time.
    pub fn answers(&self) -> bool {
        match self.state {
            State::Up { .. } | State::NotReady { trend: Trend::Steady | Trend::Rising(_), .. } => {
                self.silence.is_none()
            }
            State::Unknown | State::Suspect { .. } | State::NotReady { .. } | State::Dead { .. } => false,
        }
    }

    /// Whether it was taken over from a running kernel state, however long ago.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Whether this machine has ever seen it up.
    pub fn ever_up(&self) -> bool {
        self.ever_up
    }

    /// When it was up again after it was down, if it has not been down since.
    pub fn recovered(&self) -> Option<Instant> {
        self.recovered
    }

    /// Why it is not up, or what speaks against it; `None` where there is nothing to say.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            State::Unknown | State::Up { doubt: None } => None,
            State::Up { doubt: Some(Doubt::Lost(why)) } | State::Dead { why, .. } => Some(why.to_string()),
            State::Suspect { streak } | State::NotReady { trend: Trend::Failing(streak), .. } => {
                Some(streak.last.to_string())
            }
            State::Up { doubt: Some(Doubt::NotReady(status)) }
            | State::NotReady { status, trend: Trend::Steady | Trend::Rising(_) } => {
                Some(format!("{}: {status}", self.question()))
            }
        }
    }

    /// Since when the health is what it is; `None` before the first verdict.
    pub fn since(&self) -> Option<Instant> {
        match self.state {
            State::Unknown => None,
            State::Up { .. } | State::Suspect { .. } | State::NotReady { .. } | State::Dead { .. } => {
                Some(self.since)
            }
        }
    }

    /// Probes in a row that got no usable answer. An answer that says "not ready" is no failure.
    pub fn failures(&self) -> u32 {
        match &self.state {
            State::Dead { run: Run::Failures(failures), .. } => *failures,
            State::Unknown
            | State::Up { .. }
            | State::Suspect { .. }
            | State::NotReady { .. }
            | State::Dead { run: Run::Successes(_), .. } => {
                self.state.streak().map_or(0, |streak| streak.failures.get())
            }
        }
    }

    /// What the last answered probe took; `None` before the first.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Whether it accepted the TCP connection of the last conclusive probe; `false` before the first.
    pub fn accepts_tcp(&self) -> bool {
        self.accepts_tcp
    }

    /// Whether it has shown no bad certificate since its last answer: who then times out has not mended it.
    pub fn trusted(&self) -> bool {
        self.trusted
    }

    /// When the question was asked that is unanswered, where that is known, or when the backend sent something else
    /// afterwards. A probe that fails says no more than that there was no answer since the last one.
    fn silent_since(&self) -> Instant {
        let asked = self.silence.map(|silence| silence.since);
        [asked, self.heard].into_iter().flatten().fold(self.last_answer, Instant::max)
    }

    fn is_established(&self) -> bool {
        self.adopted || self.ever_up
    }

    fn facts(&self, now: Instant) -> Facts {
        Facts {
            fall: self.check.fall,
            rise: self.check.rise,
            silent: now.saturating_duration_since(self.silent_since()) >= self.check.dead_after,
            established: self.is_established(),
        }
    }

    /// What an outcome tells besides the verdict.
    fn observe(&mut self, now: Instant, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Ready { latency }
            | ProbeOutcome::Denied { latency, .. }
            | ProbeOutcome::NotReady { latency, .. } => {
                self.latency = Some(*latency);
                self.last_answer = now;
                self.silence = None;
                self.accepts_tcp = true;
                self.trusted = true;
            }
            ProbeOutcome::Failed(why) => {
                self.accepts_tcp = why.accepted_tcp();
                if why.is_prompt() {
                    self.silence = None;
                }
                self.trusted &= !matches!(why, Failure::Certificate(_));
            }
            ProbeOutcome::Inconclusive { .. } => {}
        }
    }

    fn enter(&mut self, next: State, now: Instant) -> Option<Transition> {
        let (from, to) = (self.state.health(), next.health());
        self.state = next;
        if from == to {
            return None;
        }
        self.since = now;
        self.ever_up |= to == Health::Up;
        self.recovered = match (from, to) {
            (Health::Dead | Health::NotReady, Health::Up) => Some(now),
            (_, Health::Up | Health::Suspect) => self.recovered,
            (_, Health::Unknown | Health::NotReady | Health::Dead) => None,
        };
        let reason = self.reason().unwrap_or_else(|| format!("{}: ready", self.question()));
        Some(Transition { from, to, reason })
    }

    fn question(&self) -> String {
        match &self.check.kind {
            CheckKind::Tcp => "connect".to_owned(),
            CheckKind::Http(http) | CheckKind::Https(http, _) => format!("GET {}", http.path),
        }
    }
}
