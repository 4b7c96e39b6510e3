use std::{
    io, mem,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use h2::{Ping, PingPong};

use super::patience::Patience;
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
    patience: Patience,
    /// When the next PING is due.
    beat: Instant,
    /// The PING that is under way.
    asked: Option<Asked>,
    /// The next answer is told, though it be in time.
    stalled: bool,
    /// Goes off when there is something to do.
    alarm: Alarm,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    /// Its answer was missed, and that was told.
    missed: bool,
}

/// What a heartbeat tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// The answer to a PING of then is missed.
    Missed(Instant),
    /// It has come after all.
    Answered,
}

impl Heartbeat {
    /// # Errors
    /// Where this host has no alarm for it.
    pub(super) fn new(pings: PingPong, interval: Duration, patience: Patience) -> io::Result<Self> {
        let beat = next_beat(*SLOTS, Instant::now(), interval);
        let alarm = Alarm::at(beat)?;
        Ok(Self { pings, interval, patience, beat, asked: None, stalled: false, alarm })
    }

    /// Sends PINGs when they are due. The connection has to be polled before, so that an answer that has come in counts
    /// even where its time is over because this process was held up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            if let Some(asked) = self.asked
                && let Poll::Ready(pong) = self.pings.poll_pong(cx)
            {
                if pong.is_err() {
                    // The connection is over, and says so itself.
                    return Poll::Pending;
                }
                self.patience.took(asked.at.elapsed());
                self.asked = None;
                self.set_alarm();
                if mem::take(&mut self.stalled) || asked.missed {
                    return Poll::Ready(Beat::Answered);
                }
            }
            ready!(self.alarm.poll(cx));
            let now = Instant::now();
            let missed =
                self.asked.filter(|asked| !asked.missed && asked.at + self.patience.allowed() <= now);
            if let Some(asked) = missed {
                self.asked = Some(Asked { missed: true, ..asked });
            }
            if self.beat <= now {
                if self.asked.is_none() {
                    if self.pings.send_ping(Ping::opaque()).is_err() {
                        return Poll::Pending;
                    }
                    self.asked = Some(Asked { at: now, missed: false });
                }
                self.beat = next_beat(*SLOTS, now, self.interval);
            }
            self.set_alarm();
            if let Some(asked) = missed {
                return Poll::Ready(Beat::Missed(asked.at));
            }
        }
    }

    /// Starts the time over: the other end was just heard of.
    pub(super) fn heard(&mut self) {
        let now = Instant::now();
        self.asked = self.asked.map(|_| Asked { at: now, missed: false });
        self.beat = next_beat(*SLOTS, now, self.interval);
        self.set_alarm();
    }

    /// A request was not answered: tells with [`Beat::Answered`] when the other end is heard of again.
    pub(super) fn stalled(&mut self) {
        self.stalled = true;
    }

    fn set_alarm(&mut self) {
        let awaited = self.asked.filter(|asked| !asked.missed);
        let next = awaited.map_or(self.beat, |asked| self.beat.min(asked.at + self.patience.allowed()));
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
