use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{
    RecvStream,
    client::{Builder, Connection, SendRequest},
};
use http::Request;
use hyper::body::Bytes;
use lb_core::probe::{Failure, Phase};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{
    connection::{BODY_MAX, Sign, alongside},
    failure::{self, Trouble},
    heartbeat::{Beat, Heartbeat},
    patience::Patience,
};

/// The most that a backend may send without being asked on: the least that the protocol allows for a connection.
const WINDOW: u32 = 65_535;

/// The longest head of an answer.
const HEAD_MAX: u32 = 16 << 10;

/// What is held of what could not be sent yet; our requests have some hundred bytes.
const SEND_MAX: usize = 16 << 10;

/// The streams that we reset and the backend may not know of yet. One at a time is asked for.
const RESET_MAX: usize = 4;

pub(super) type Body = RecvStream;

/// An HTTP/2 connection.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    running: Running,
    heartbeat: Option<Heartbeat>,
}

struct Running {
    connection: Connection<TlsStream<TcpStream>>,
    /// Why it ended, as it is told when nothing was asked at the time.
    over: Option<Failure>,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>, phase: Phase) -> Poll<Failure> {
        if let Some(why) = &self.over {
            return Poll::Ready(why.clone());
        }
        let result = ready!(Pin::new(&mut self.connection).poll(cx));
        let why = |phase| match &result {
            Ok(()) => Failure::Closed(phase),
            Err(error) => failure::of_http2(error, phase),
        };
        self.over = Some(why(Phase::Idle));
        Poll::Ready(why(phase))
    }
}

impl Http2 {
    /// Begins to speak HTTP/2; does not wait for the other end.
    pub(super) async fn begin(
        stream: TlsStream<TcpStream>,
        heartbeat: Option<Duration>,
        patience: Patience,
    ) -> Result<Self, Trouble> {
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEAD_MAX)
            .max_send_buffer_size(SEND_MAX)
            .max_concurrent_reset_streams(RESET_MAX)
            .handshake(stream)
            .await
            .map_err(|error| failure::of_http2(&error, Phase::Request))?;
        let heartbeat = heartbeat.and_then(|interval| {
            let pings = connection.ping_pong()?;
            Some(Heartbeat::new(pings, interval, patience).map_err(|error| failure::of_alarm(&error)))
        });
        let heartbeat = heartbeat.transpose()?;
        Ok(Self { sender, running: Running { connection, over: None }, heartbeat })
    }

    pub(super) async fn ask(&mut self, request: Request<()>, body: Bytes) -> Result<(u16, Body), Failure> {
        let Self { sender, running, .. } = self;
        let answer = async {
            poll_fn(|cx| sender.poll_ready(cx)).await?;
            let (answer, mut stream) = sender.send_request(request, body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(body, true)?;
            }
            answer.await
        };
        let answer = async { answer.await.map_err(|error| failure::of_http2(&error, Phase::Request)) };
        let response = alongside(answer, poll_fn(|cx| running.poll(cx, Phase::Request))).await?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    /// Has the answer to the next PING told, if there are any.
    pub(super) fn stalled(&mut self) -> bool {
        self.heartbeat.as_mut().map(Heartbeat::stalled).is_some()
    }

    /// Reads a body to its end, within bounds.
    pub(super) async fn drain(&mut self, mut body: Body) {
        let rest = async {
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                if length > BODY_MAX || body.flow_control().release_capacity(data.len()).is_err() {
                    break;
                }
            }
            Ok(())
        };
        // An end of the connection is kept, and told by `sign`.
        let _ended = alongside(rest, poll_fn(|cx| self.running.poll(cx, Phase::Idle))).await;
    }

    /// An answer is as good as that to a PING.
    pub(super) fn heard(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.heard();
        }
    }

    pub(super) async fn sign(&mut self) -> Sign {
        let Self { running, heartbeat, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(why) = running.poll(cx, Phase::Idle) {
                return Poll::Ready(Sign::Over(why));
            }
            match heartbeat {
                Some(heartbeat) => heartbeat.poll(cx).map(|beat| match beat {
                    Beat::Missed(since) => Sign::Missed(since),
                    Beat::Answered => Sign::Answered,
                }),
                None => Poll::Pending,
            }
        })
        .await
    }
}
