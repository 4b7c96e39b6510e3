//! Response bodies: one that is whole, one that goes on until the process is asked to end, one of a given size, and one that
//! somebody else writes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::state::State;

/// The body of every answer.
pub(super) type Answer = Either<Full<Bytes>, Either<Ticking, Either<Bulk, Written>>>;

/// What comes out of a channel.
pub(super) struct Written(pub(super) mpsc::Receiver<Bytes>);

impl Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

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

/// What [`Bulk`] is made of; a MiB is a whole number of them.
const BULK_PIECE: &[u8] = &[b'x'; 64 * 1024];

/// So many bytes that making them costs nothing.
pub(super) struct Bulk {
    left: u64,
}

impl Bulk {
    pub(super) fn new(mebibytes: u32) -> Self {
        Self { left: u64::from(mebibytes) << 20 }
    }
}

impl Body for Bulk {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left = self.left.saturating_sub(BULK_PIECE.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(BULK_PIECE)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
