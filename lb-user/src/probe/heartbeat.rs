use std::{
    io,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use h2::{Ping, PingPong};

use crate::os::alarm::Alarm;

/// When the slots of this process began: at an instant of chance, so that they are not those of other nodes.
static SLOTS: LazyLock<Instant> = LazyLock::new(|| Instant::now() - MAX_PHASE.mul_f64(fastrand::f64()));

/// Longer than any sensible heartbeat.
const MAX_PHASE: Duration = Duration::from_secs(3600);

/// An interval has so many slots, and heartbeats begin with one: those of all backends, which answer their probes within
/// moments of each other, then take one wake-up of the process.
const SLOTS_IN_INTERVAL: u32 = 8;

/// PING by PING, whether the other end of an HTTP/2 connection is alive.
pub(super) struct Heartbeat {
    pings: PingPong,
    interval: Duration,
    /// The longest that an answer may take.
    patience: Duration,
    /// When the next PING is due.
    beat: Instant,
    /// When the answer to the last PING is, unless it has come in.
    overdue: Option<Instant>,
    /// Goes off at whichever comes first. It is not set anew when an answer comes in, so that a beat takes one system
    /// call for it.
    alarm: Alarm,
}

impl Heartbeat {
    /// # Errors
    /// Where this host has no alarm for it.
    pub(super) fn new(pings: PingPong, interval: Duration, patience: Duration) -> io::Result<Self> {
        let beat = next_beat(*SLOTS, Instant::now(), interval);
        Ok(Self { pings, interval, patience, beat, overdue: None, alarm: Alarm::at(beat)? })
    }

    /// Sends PINGs when they are due; ready when an answer is overdue. The connection has to be polled before, so
    /// that an answer that has come in counts even where its time is over because this process was held up.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.overdue.is_some()
                && let Poll::Ready(pong) = self.pings.poll_pong(cx)
            {
                if pong.is_err() {
                    // The connection is over, and says so itself.
                    return Poll::Pending;
                }
                self.overdue = None;
            }
            ready!(self.alarm.poll(cx));
            let now = Instant::now();
            match self.overdue {
                Some(overdue) if overdue <= now => return Poll::Ready(()),
                None if self.beat <= now => {
                    if self.pings.send_ping(Ping::opaque()).is_err() {
                        return Poll::Pending;
                    }
                    self.overdue = Some(now + self.patience);
                }
                Some(_) | None => {}
            }
            self.set_alarm(now);
        }
    }

    /// Starts the time over: the other end was just heard of.
    pub(super) fn heard(&mut self) {
        let now = Instant::now();
        self.overdue = self.overdue.map(|_| now + self.patience);
        self.set_alarm(now);
    }

    fn set_alarm(&mut self, now: Instant) {
        self.beat = next_beat(*SLOTS, now, self.interval);
        let next = self.overdue.map_or(self.beat, |overdue| overdue.min(self.beat));
        if let Err(error) = self.alarm.reset(next) {
            tracing::error!(%error, "failed to set a timer: a silent backend will be noticed by its probes only");
        }
    }
}

/// The last beginning of a slot that is no later than an interval after `now`.
fn next_beat(begin: Instant, now: Instant, interval: Duration) -> Instant {
    let latest = now + interval;
    let slot = (interval / SLOTS_IN_INTERVAL).as_nanos().max(1);
    let into = latest.saturating_duration_since(begin).as_nanos() % slot;
    latest - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(800);

    #[test]
    fn what_was_heard_of_within_a_slot_is_asked_together_and_never_later_than_after_an_interval() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        for millis in [7000, 7001, 7050, 7099] {
            assert_eq!(next_beat(begin, at(millis), INTERVAL), at(7800), "{millis}");
        }
        assert_eq!(next_beat(begin, at(7100), INTERVAL), at(7900));
    }

    #[test]
    fn one_beat_follows_on_the_other_after_an_interval() {
        let begin = Instant::now();
        let late = Duration::from_micros(80);
        let beat = next_beat(begin, begin + Duration::from_millis(7123), INTERVAL);
        assert_eq!(next_beat(begin, beat + late, INTERVAL), beat + INTERVAL);
    }
}
