//! What an agent's shell does about one master: `lb-user/src/probe` on a virtual clock. The kept connection, that for PINGs,
//! one probe at a time, and the vigil over a master that owes an answer.

use std::{mem, time::Duration};

use lb_core::probe::{Failure, Phase, ProbeOutcome, ProbeTarget};

use crate::{
    patience::{Patience, next_beat},
    vigil::Vigil,
    world::{Due, Manner, ROUND_TRIP, Time, World},
};

/// A connection that ends sooner than this after it was made was brief.
const BRIEF: Duration = Duration::from_secs(1);

/// The age at which the connection for PINGs is replaced, of which chance takes off up to a quarter.
const PULSE_AGE: Duration = Duration::from_secs(80);

/// The longest delay of one that is made later, in heartbeats.
const PULSE_DELAY: u32 = 10;

/// What a line tells its controller.
pub enum Told {
    Over { attempt: u64, outcome: ProbeOutcome },
    Lost,
}

/// One master, seen from one node.
pub struct Line {
    node: usize,
    master: usize,
    /// Where the slots of the node's heartbeats begin.
    phase: Duration,
    heartbeat: Duration,
    timeout: Duration,
    /// When the kept connection was made.
    kept: Option<Time>,
    /// Requests on it that were given up since it was last heard of.
    stalls: u32,
    /// When another connection for PINGs is made, at an answer.
    pulse_due: Time,
    /// The longest that chance delays it.
    pulse_delay: Duration,
    /// What a new connection's heartbeats begin with.
    unhurried: Patience,
    beats: Patience,
    alarm: Option<Time>,
    /// The PING that is under way.
    asked: Option<Time>,
    patience: Patience,
    probe: Option<Probe>,
    pub vigil: Option<Vigil>,
    answers: bool,
    was_brief: bool,
    /// The controller's verdict.
    pub dead: bool,
}

struct Probe {
    attempt: u64,
    started: Time,
    /// When the connection was made that it is asked on, if that is an old one.
    kept: Option<Time>,
}

impl Line {
    pub fn new(node: usize, master: usize, phase: Duration, target: &ProbeTarget) -> Self {
        let unhurried = Patience::new(target.patience, target.timeout);
        Self {
            node,
            master,
            phase,
            heartbeat: target.heartbeat.unwrap(),
            timeout: target.timeout,
            kept: None,
            stalls: 0,
            pulse_due: Time::ZERO,
            pulse_delay: Duration::ZERO,
            unhurried,
            beats: unhurried,
            alarm: None,
            asked: None,
            patience: unhurried,
            probe: None,
            vigil: None,
            answers: false,
            was_brief: false,
            dead: false,
        }
    }

    pub fn master(&self) -> usize {
        self.master
    }

    pub fn probe(&mut self, world: &mut World, attempt: u64, doubted: bool) {
        let hangs = world.masters[self.master] == Manner::Hangs;
        let of_use = self.stalls == 0 || (self.stalls == 1 && hangs);
        let kept = self.kept.take_if(|_| of_use);
        if of_use {
            (self.alarm, self.asked) = (None, None);
        }
        let is_kept = kept.is_some();
        self.probe = Some(Probe { attempt, started: world.now, kept });
        let (now, master) = (world.now, self.master);
        let traffic = &mut world.traffic;
        match world.masters[master] {
            Manner::Serves if is_kept => {
                traffic.readyz[master].add(now);
                self.over_at(world, now + ROUND_TRIP, ready(ROUND_TRIP));
            }
            Manner::Serves => self.shake_hands(world, now + ROUND_TRIP),
            Manner::Refuses => {
                traffic.attempts[master].add(now);
                self.over_at(world, now + ROUND_TRIP, ProbeOutcome::Failed(Failure::Refused));
            }
            manner @ (Manner::Hangs | Manner::Unreachable) => {
                let asked = if is_kept { &mut traffic.readyz } else { &mut traffic.attempts };
                asked[master].add(now);
                self.wait(world, doubted, overdue(manner, is_kept));
            }
        }
    }

    fn wait(&mut self, world: &mut World, doubted: bool, overdue: Phase) {
        let Some(Probe { attempt, .. }) = self.probe else { return };
        let (now, node, master) = (world.now, self.node, self.master);
        let allowed = if doubted { self.patience.in_doubt() } else { self.patience.allowed() };
        if self.answers {
            world.due(now + allowed, node, Due::Missed { master, attempt });
        }
        self.over_at(world, now + self.timeout, ProbeOutcome::Failed(Failure::Timeout(overdue)));
    }

    /// From `at` on: handshake, request, answer.
    fn shake_hands(&mut self, world: &mut World, at: Time) {
        let Some(Probe { started, .. }) = self.probe else { return };
        world.traffic.handshakes[self.master].add(at);
        world.traffic.readyz[self.master].add(at + ROUND_TRIP);
        let over = at + ROUND_TRIP * 2;
        self.over_at(world, over, ready(over - started));
    }

    fn over_at(&self, world: &mut World, at: Time, outcome: ProbeOutcome) {
        if let Some(Probe { attempt, .. }) = self.probe {
            let outcome = Box::new(outcome);
            world.due(at, self.node, Due::Over { master: self.master, attempt, outcome });
        }
    }

    pub fn over(&mut self, world: &mut World, attempt: u64, outcome: ProbeOutcome) -> Option<Told> {
        let probe = self.probe.take_if(|probe| probe.attempt == attempt)?;
        match &outcome {
            ProbeOutcome::Ready { latency }
            | ProbeOutcome::Denied { latency, .. }
            | ProbeOutcome::NotReady { latency, .. } => {
                self.patience.took(*latency);
                (self.answers, self.vigil, self.stalls) = (true, None, 0);
                if probe.kept.is_none() {
                    self.beats = self.unhurried;
                }
                self.renew_pulse(world);
                self.kept = Some(probe.kept.unwrap_or(world.now));
                self.set_alarm(world, next_beat(self.phase, world.now, self.heartbeat));
            }
            ProbeOutcome::Failed(why) => {
                self.answers = false;
                if let Some(made) = probe.kept.filter(|_| matches!(why, Failure::Timeout(_))) {
                    // Its heartbeat waits, and no alarm is set.
                    (self.kept, self.asked) = (Some(made), Some(probe.started));
                    self.stalls += 1;
                }
                self.vigil.take_if(|_| why.is_prompt());
            }
            ProbeOutcome::Inconclusive { .. } => {}
        }
        Some(Told::Over { attempt, outcome })
    }

    fn renew_pulse(&mut self, world: &mut World) {
        if world.now < self.pulse_due {
            return;
        }
        let chance = f64::from(self.phase.subsec_nanos() % 1_000_000) / 1e6;
        let at = world.now + self.pulse_delay.mul_f64(chance) + ROUND_TRIP;
        world.traffic.handshakes[self.master].add(at);
        self.pulse_due = at + PULSE_AGE.mul_f64(1.0 - chance / 4.0);
        self.pulse_delay = self.heartbeat * PULSE_DELAY;
    }

    pub fn missed(&mut self, world: &mut World, attempt: u64) {
        if let Some(Probe { started, kept, .. }) =
            self.probe.as_ref().filter(|probe| probe.attempt == attempt)
        {
            let (started, kept) = (*started, kept.is_some());
            self.watch(world, started, kept);
        }
    }

    fn watch(&mut self, world: &mut World, since: Time, kept: bool) {
        if self.vigil.is_none() {
            self.vigil = Some(Vigil::new(world.now, since, kept));
            world.due(world.now, self.node, Due::Look { master: self.master });
        }
    }

    /// A heartbeat's alarm goes off.
    pub fn beat(&mut self, world: &mut World) {
        if self.alarm != Some(world.now) || self.kept.is_none() {
            return;
        }
        self.alarm = None;
        if let Some(asked) = self.asked {
            return self.watch(world, asked, true);
        }
        world.traffic.pings[self.master].add(world.now);
        if world.masters[self.master] == Manner::Serves {
            self.beats.took(ROUND_TRIP);
            self.set_alarm(world, next_beat(self.phase, world.now, self.heartbeat));
        } else {
            self.asked = Some(world.now);
            self.set_alarm(world, world.now + self.beats.allowed());
        }
    }

    /// The answer to a PING comes after all.
    pub fn pong(&mut self, world: &mut World) {
        if let Some(asked) = self.asked.take() {
            self.beats.took(world.now - asked);
            (self.vigil, self.stalls) = (None, 0);
            self.set_alarm(world, next_beat(self.phase, world.now, self.heartbeat));
        }
    }

    fn set_alarm(&mut self, world: &mut World, at: Time) {
        self.alarm = Some(at);
        world.due(at, self.node, Due::Beat { master: self.master });
    }

    /// The connections are reset.
    pub fn lost(&mut self, world: &mut World) -> Option<Told> {
        self.pulse_due = world.now;
        if self.probe.as_ref().is_some_and(|probe| probe.kept.is_some()) {
            // The answer, or the refusal, is under way.
            world.due(world.now + ROUND_TRIP, self.node, Due::Lost { master: self.master });
            return None;
        }
        let made = self.kept.take()?;
        (self.alarm, self.asked, self.vigil) = (None, None, None);
        let brief = world.now - made < BRIEF;
        let was_brief = mem::replace(&mut self.was_brief, brief);
        (!(brief && was_brief)).then_some(Told::Lost)
    }

    /// What waits for an answer gets it, now that the master answers again. `resent`: nothing that was sent meanwhile came
    /// through, so that it has to be sent again first.
    pub fn resume(&mut self, world: &mut World, resent: bool) {
        let now = world.now;
        let arrives = |sent: Time, first: Duration| if resent { resend(sent, first, now) } else { now };
        if let Some(asked) = self.asked {
            let at = arrives(asked, RESEND);
            world.due(at + ROUND_TRIP, self.node, Due::Pong { master: self.master });
        }
        let Some(Probe { started, kept, .. }) = self.probe else { return };
        if kept.is_some() {
            let over = arrives(started, RESEND) + ROUND_TRIP;
            self.over_at(world, over, ready(over - started));
        } else {
            let at = arrives(started, RESEND_SYN);
            if at < started + self.timeout {
                self.shake_hands(world, at);
            }
        }
    }
}

/// When a segment is sent again at first (TCP_RTO_MIN), and when a SYN is (TCP_TIMEOUT_INIT).
const RESEND: Duration = Duration::from_millis(200);
const RESEND_SYN: Duration = Duration::from_secs(1);

/// When it is sent again that was sent in vain, at the first time from `now` on; the waits double.
fn resend(sent: Time, first: Duration, now: Time) -> Time {
    let (mut at, mut wait) = (sent, first);
    while at < now {
        at += wait;
        wait *= 2;
    }
    at
}

fn ready(latency: Duration) -> ProbeOutcome {
    ProbeOutcome::Ready { latency }
}

fn overdue(manner: Manner, is_kept: bool) -> Phase {
    match manner {
        _ if is_kept => Phase::Request,
        Manner::Hangs => Phase::Handshake,
        Manner::Serves | Manner::Refuses | Manner::Unreachable => Phase::Connect,
    }
}
