//! A connection that carries no requests, only HTTP/2 PINGs.
//!
//! kube-apiserver ends an HTTP/2 connection after each request of somebody whom it does not know
//! (UnauthenticatedHTTP2DOSMitigation, on since 1.29; k8s.io/apiserver/pkg/endpoints/filters/authentication.go), and answers
//! PINGs on one that carries none until it has been idle for 90 s.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::client::{Builder, Connection, SendRequest};
use hyper::body::Bytes;
use lb_core::probe::{Failure, Phase};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::client::TlsStream;

use super::{
    connection::Sign,
    failure::{self, Trouble},
    heartbeat::{Beat, Heartbeat},
    patience::Patience,
};

/// The most that a backend may send without being asked on: the least that the protocol allows for a connection.
const WINDOW: u32 = 65_535;

/// An HTTP/2 connection for PINGs.
pub(super) struct Pulse {
    connection: Connection<TlsStream<TcpStream>>,
    /// The connection ends with the last of these.
    _sender: SendRequest<Bytes>,
    heartbeat: Heartbeat,
    own: Option<SocketAddr>,
    made: Instant,
    over: Option<Failure>,
}

impl Pulse {
    /// Begins to speak HTTP/2; does not wait for the other end.
    pub(super) async fn begin(
        stream: TlsStream<TcpStream>,
        heartbeat: Duration,
        patience: Patience,
    ) -> Result<Self, Trouble> {
        let own = stream.get_ref().0.local_addr().ok();
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(stream)
            .await
            .map_err(|error| failure::of_http2(&error, Phase::Idle))?;
        let pings = connection.ping_pong().ok_or(Failure::Closed(Phase::Idle))?;
        let heartbeat =
            Heartbeat::new(pings, heartbeat, patience).map_err(|error| failure::of_alarm(&error))?;
        Ok(Self { connection, _sender: sender, heartbeat, own, made: Instant::now(), over: None })
    }

    /// Our end of it.
    pub(super) fn own(&self) -> Option<SocketAddr> {
        self.own
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }

    /// An answer to something else is as good as that to a PING.
    pub(super) fn heard(&mut self) {
        self.heartbeat.heard();
    }

    /// Has the answer to the next PING told.
    pub(super) fn stalled(&mut self) {
        self.heartbeat.stalled();
    }

    /// Waits for what it tells. May be dropped and called again.
    pub(super) async fn sign(&mut self) -> Sign {
        poll_fn(|cx| {
            if let Poll::Ready(why) = self.poll_over(cx) {
                return Poll::Ready(Sign::Over(why));
            }
            self.heartbeat.poll(cx).map(|beat| match beat {
                Beat::Missed(since) => Sign::Missed(since),
                Beat::Answered => Sign::Answered,
            })
        })
        .await
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some(why) = &self.over {
            return Poll::Ready(why.clone());
        }
        let why = match ready!(Pin::new(&mut self.connection).poll(cx)) {
            Ok(()) => Failure::Closed(Phase::Idle),
            Err(error) => failure::of_http2(&error, Phase::Idle),
        };
        self.over = Some(why.clone());
        Poll::Ready(why)
    }
}
