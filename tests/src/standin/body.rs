//! Response bodies: one that is whole, and one that goes on until the process is asked to end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::state::State;

/// The body of every answer.
pub(super) type Answer = Either<Full<Bytes>, Ticking>;

/// Sends a piece at every tick, without end; a graceful stop ends it, as a real apiserver ends its watches.
pub(super) struct Ticking {
    state: Arc<State>,
    ticks: Interval,
    count: u64,
    piece: fn(&State, u64) -> Bytes,
}

impl Ticking {
    pub(super) fn new(state: Arc<State>, period: Duration, piece: fn(&State, u64) -> Bytes) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { state, ticks, count: 0, piece }
    }
}

impl Body for Ticking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(cx));
        if self.state.is_stopping() {
            return Poll::Ready(None);
        }
        self.count += 1;
        let bytes = (self.piece)(&self.state, self.count);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
