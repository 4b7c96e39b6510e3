//! A timer of the kernel's, for what goes on all the time. The runtime's own timers lie on a wheel, which takes one more
//! wake-up of the process for each that is more than 64 ms away (tokio, runtime/time/wheel).

use std::{
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Goes off at an instant; by timerfd_create(2).
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    due: Instant,
}

impl Alarm {
    /// An alarm that goes off at `due`; at once, where that is over.
    ///
    /// # Errors
    /// Where this process or the system has no file descriptor left for it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn at(due: Instant) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        set(&timer, due)?;
        Ok(Self { timer: registered(timer)?, due })
    }

    /// Lets it go off at another instant, whether it has gone off or not.
    ///
    /// # Errors
    /// Where the kernel refuses; timerfd_settime(2) names no reason that could apply.
    pub fn reset(&mut self, due: Instant) -> io::Result<()> {
        if due != self.due {
            self.due = due;
            set(self.timer.get_ref(), due)?;
        }
        Ok(())
    }

    /// Whether it has gone off. It stays so until it is reset.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let readiness = ready!(self.timer.poll_read_ready(cx));
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            match readiness {
                // Of the time before it was reset, which the kernel has forgotten as well: nothing is there to be read.
                Ok(mut readiness) => readiness.clear_ready(),
                // The runtime is shutting down.
                Err(_) => return Poll::Pending,
            }
        }
    }

    /// Waits until it goes off. May be dropped and called again.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
fn registered(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and the same for as long as it lives, and it lives in the AsyncFd, which is never
    // taken apart.
    unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }.map_err(io::Error::from)
}

/// Never early: the time that passes until the kernel has been told comes on top.
fn set(timer: &OwnedFd, due: Instant) -> io::Result<()> {
    // None at all would disarm it.
    let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
    let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
    let once = Itimerspec { it_interval: Timespec::default(), it_value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(30);
    const NEVER: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn it_goes_off_when_it_is_due_and_stays_so() {
        let due = Instant::now() + SOON;
        let alarm = Alarm::at(due).unwrap();
        for _ in 0..2 {
            timeout(PATIENCE, alarm.wait()).await.unwrap();
            assert!(Instant::now() >= due);
        }
    }

    #[tokio::test]
    async fn one_that_is_over_goes_off_at_once() {
        timeout(PATIENCE, Alarm::at(Instant::now()).unwrap().wait()).await.unwrap();
    }

    #[tokio::test]
    async fn it_can_be_reset_before_it_went_off_and_afterwards() {
        let mut alarm = Alarm::at(Instant::now() + NEVER).unwrap();
        for _ in 0..3 {
            let due = Instant::now() + SOON;
            alarm.reset(due).unwrap();
            timeout(PATIENCE, alarm.wait()).await.unwrap();
            assert!(Instant::now() >= due);
        }
        alarm.reset(Instant::now() + NEVER).unwrap();
        assert!(timeout(SOON, alarm.wait()).await.is_err(), "it went off long before it was due");
    }

    #[tokio::test]
    async fn one_that_went_off_unseen_is_quiet_after_a_reset() {
        let mut alarm = Alarm::at(Instant::now()).unwrap();
        tokio::time::sleep(SOON).await;
        alarm.reset(Instant::now() + NEVER).unwrap();
        assert!(timeout(SOON, alarm.wait()).await.is_err(), "it went off long before it was due");
    }
}
