//! What a backend's silence means, and how soon.
//!
//! | silent for | what happens |
//! |---|---|
//! | [`patience`], or twice as long as answers took before | suspect: new connections go elsewhere |
//! | [`free_after`] | those begun meanwhile are ended: their retries go elsewhere too |
//! | [`gone_after`], and not a packet from the host, while another backend answers | dead |
//! | `deadAfter`, and `fall` probes failed | dead, though the host still acknowledges packets |
//!
//! Whatever the backend sends to this node meanwhile, on a client's connection too, proves that it does not hang: nobody is
//! freed then, and `deadAfter` begins anew. Where no other backend answers either, it is this node's own network that is
//! gone, for a moment perhaps: only `deadAfter` counts.

use std::time::{Duration, Instant};

use super::{
    Machine, Transition,
    state::{State, Streak},
};
use crate::{
    control::Signal,
    model::Health,
    probe::{Failure, HealthCheck, HostSign, Phase, Silence},
};

/// Where there is no heartbeat, silence is measured as with this one.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The least time without a packet from a host before it is gone. A TCP segment that is lost twice is sent a third time
/// within 0.6 s (TCP_RTO_MIN, include/net/tcp.h).
const GONE: Duration = Duration::from_millis(1200);

/// How long an answer may take before its backend is suspect, unless its answers took longer before.
pub fn patience(heartbeat: Option<Duration>) -> Duration {
    heartbeat.unwrap_or(HEARTBEAT) * 3 / 5
}

/// How long a backend is silent before the connections begun meanwhile are ended.
pub fn free_after(heartbeat: Option<Duration>) -> Duration {
    heartbeat.unwrap_or(HEARTBEAT)
}

/// How long a host sends nothing at all before it is gone.
pub fn gone_after(heartbeat: Option<Duration>) -> Duration {
    (heartbeat.unwrap_or(HEARTBEAT) * 12 / 5).max(GONE)
}

impl Machine {
    /// What was asked has not been answered yet, and whether another backend of the service answers. Told again and again
    /// while that lasts: the host's sign may change. A probe starts at once, or follows the one under way.
    pub fn silent(&mut self, now: Instant, silence: Silence, others_answer: bool) -> Option<Transition> {
        if silence.since < self.last_answer {
            return None;
        }
        self.silence = Some(silence);
        if let HostSign::Serving { heard } = silence.host {
            self.heard = self.heard.max(Some(heard));
        }
        let next = match &self.state {
            _ if others_answer && self.is_gone(now, silence) => {
                let failures = self.state.streak().map_or(0, |streak| streak.failures.get());
                State::gone(Failure::HostSilent, failures)
            }
            State::Unknown if self.is_established() => suspect(),
            State::Up { .. } => suspect(),
            State::Dead { .. } => {
                self.hear_from_the_dead(now, silence.host);
                return None;
            }
            State::Unknown | State::Suspect { .. } | State::NotReady { .. } => return None,
        };
        if next.health() == Health::Suspect {
            self.schedule.hurry(now);
        }
        self.enter(next, now)
    }

    /// Something befell a connection of the node's own: a probe starts at once. After a few, one per interval: packets
    /// that get lost all the time are no news.
    pub fn signalled(&mut self, now: Instant, signal: Signal) {
        let trusted = match self.state {
            State::Up { .. } => true,
            State::Unknown | State::Suspect { .. } | State::NotReady { .. } | State::Dead { .. } => false,
        };
        if !trusted || self.schedule.is_hurried(now) || !self.signals.take(now, self.check.interval) {
            return;
        }
        self.schedule.hurry(now);
        self.doubted = match signal {
            Signal::Refused => false,
            Signal::Retransmitted => true,
        };
    }

    /// Since when it is silent, if that is long enough to end the connections that were begun meanwhile. Where packets
    /// get lost on the way, those may come through yet.
    pub fn frees_since(&self, now: Instant) -> Option<Instant> {
        let Silence { host, .. } = self.silence?;
        let since = self.silent_since();
        let long = now.saturating_duration_since(since) >= free_after(self.check.heartbeat);
        let hopeless = match host {
            HostSign::Acknowledged | HostSign::Nothing { .. } => true,
            HostSign::Lossy | HostSign::Serving { .. } => false,
        };
        (long && hopeless).then_some(since)
    }

    /// Who was taken for dead and sends something is asked at once, but not for each packet.
    fn hear_from_the_dead(&mut self, now: Instant, host: HostSign) {
        if let HostSign::Serving { .. } = host
            && !self.schedule.is_hurried(now)
            && self.losses.take(now, self.check.interval)
        {
            self.schedule.hurry(now);
        }
    }

    fn is_gone(&self, now: Instant, silence: Silence) -> bool {
        let HostSign::Nothing { packets } = silence.host else { return false };
        let long = now.saturating_duration_since(self.silent_since()) >= gone_after(self.check.heartbeat);
        let judged = match self.state {
            State::Dead { .. } => false,
            State::Unknown => self.is_established(),
            State::Up { .. } | State::Suspect { .. } | State::NotReady { .. } => true,
        };
        judged && long && packets >= self.check.fall.get()
    }
}

fn suspect() -> State {
    State::Suspect { streak: Streak::first(&Failure::Timeout(Phase::Idle)) }
}

impl HealthCheck {
    /// See [`patience`]. Never longer than a probe may take.
    pub fn patience(&self) -> Duration {
        patience(self.heartbeat).min(self.timeout)
    }
}
