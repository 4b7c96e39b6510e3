use std::{
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// All heartbeats of this process beat together, one wake-up for all; those of other nodes do not: the beat begins at
/// an instant of chance.
static BEAT: LazyLock<Instant> = LazyLock::new(|| Instant::now() - MAX_PHASE.mul_f64(fastrand::f64()));

/// Longer than any sensible heartbeat.
const MAX_PHASE: Duration = Duration::from_secs(3600);

/// PING by PING, whether the other end of an HTTP/2 connection is alive.
pub(super) struct Heartbeat {
    pings: PingPong,
    interval: Duration,
    /// The longest that an answer may take.
    patience: Duration,
    /// Until the next PING, or for as long as its answer may take.
    timer: Pin<Box<Sleep>>,
    awaiting: bool,
}

impl Heartbeat {
    pub(super) fn new(pings: PingPong, interval: Duration, patience: Duration) -> Self {
        Self { pings, interval, patience, timer: Box::pin(sleep(interval)), awaiting: false }
    }

    /// Sends PINGs when they are due; ready when an answer is overdue. The connection has to be polled before, so
    /// that an answer that has come in counts even where its time is over because this process was held up.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.awaiting {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => self.wait(false),
                    // The connection is over, and says so itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => return self.timer.as_mut().poll(cx),
                }
            } else {
                ready!(self.timer.as_mut().poll(cx));
                if self.pings.send_ping(Ping::opaque()).is_err() {
                    return Poll::Pending;
                }
                self.wait(true);
            }
        }
    }

    /// Starts the time over: the other end was just heard of.
    pub(super) fn heard(&mut self) {
        self.wait(self.awaiting);
    }

    fn wait(&mut self, awaiting: bool) {
        self.awaiting = awaiting;
        let now = Instant::now();
        let until = if awaiting { now + self.patience } else { next_beat(*BEAT, now, self.interval) };
        self.timer.as_mut().reset(until);
    }
}

/// The first instant after `now` that lies a whole number of intervals after `begin`.
fn next_beat(begin: Instant, now: Instant, interval: Duration) -> Instant {
    let since = now.saturating_duration_since(begin).as_nanos();
    let into = since % interval.as_nanos().max(1);
    now + interval - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_of_different_connections_fall_together_and_never_come_late() {
        let begin = Instant::now();
        let interval = Duration::from_millis(500);
        for millis in [0, 1, 250, 499] {
            let now = begin + Duration::from_millis(7000 + millis);
            assert_eq!(next_beat(begin, now, interval), begin + Duration::from_millis(7500), "{millis}");
        }
    }
}
