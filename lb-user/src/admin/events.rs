//! `GET /v1/events`: transitions as server-sent events (WHATWG HTML, section 9.2).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use lb_core::view::TransitionView;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Instant, interval_at},
};

/// Events written but not yet sent to one client. What a slow client cannot take stays in the broadcast channel,
/// which forgets the oldest and tells how many.
const AHEAD: usize = 4;

/// An endless body, fed by a task that ends when the body is dropped.
pub(super) struct EventBody {
    written: mpsc::Receiver<Bytes>,
}

impl EventBody {
    /// Starts to follow `transitions`; `place` is held as long as the client stays.
    pub(super) fn start(
        transitions: broadcast::Receiver<TransitionView>,
        keep_alive: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (sender, written) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            follow(transitions, keep_alive, sender).await;
            drop(place);
        });
        Self { written }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.written.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn follow(
    mut transitions: broadcast::Receiver<TransitionView>,
    keep_alive: Duration,
    client: mpsc::Sender<Bytes>,
) {
    let mut silence = interval_at(Instant::now() + keep_alive, keep_alive);
    // The client learns at once that it is subscribed: no later transition is missed.
    let mut next = Bytes::from_static(b": subscribed\n\n");
    while client.send(next).await.is_ok() {
        next = tokio::select! {
            received = transitions.recv() => match received {
                Ok(transition) => written(&transition),
                Err(RecvError::Lagged(missed)) => {
                    Bytes::from(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n"))
                }
                Err(RecvError::Closed) => return,
            },
            _ = silence.tick() => Bytes::from_static(b": keep-alive\n\n"),
            () = client.closed() => return,
        };
        silence.reset();
    }
}

fn written(transition: &TransitionView) -> Bytes {
    // JSON never holds a raw line break, so one `data:` line is enough.
    match serde_json::to_string(transition) {
        Ok(json) => Bytes::from(format!("event: transition\ndata: {json}\n\n")),
        Err(error) => Bytes::from(format!(": a transition cannot be written: {error}\n\n")),
    }
}
