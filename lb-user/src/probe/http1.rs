use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use lb_core::probe::{Failure, Phase};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    connection::{BODY_MAX, alongside},
    failure,
};

/// The most that is held of what was received and not yet taken, the head of an answer included.
const BUFFER_MAX: usize = 16 << 10;

/// With or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type Body = Incoming;

/// An HTTP/1.1 connection.
pub(super) struct Http1 {
    sender: SendRequest<Full<Bytes>>,
    running: Running,
    /// What was asked and is not answered yet.
    pending: Option<Pending>,
}

type Pending = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

struct Running {
    connection: Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>,
    over: bool,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>, phase: Phase) -> Poll<Failure> {
        if self.over {
            return Poll::Ready(Failure::Closed(phase));
        }
        let result = ready!(Pin::new(&mut self.connection).poll(cx));
        self.over = true;
        Poll::Ready(match result {
            Ok(()) => Failure::Closed(phase),
            Err(error) => failure::of_http1(&error, phase),
        })
    }
}

impl Http1 {
    /// Begins to speak HTTP; sends nothing yet.
    pub(super) async fn begin(stream: Box<dyn Stream>) -> Result<Self, Failure> {
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure::of_http1(&error, Phase::Request))?;
        Ok(Self { sender, running: Running { connection, over: false }, pending: None })
    }

    /// Makes a request, and waits for the head of the answer: its status, and what is needed for the rest of it. When this is
    /// dropped before, the answer is still awaited: the next call takes it for its own, and asks nothing.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Body), Failure> {
        let Self { sender, running, pending } = self;
        let asked = pending.get_or_insert_with(|| Box::pin(sender.send_request(request)));
        let answer = async { asked.await.map_err(|error| failure::of_http1(&error, Phase::Request)) };
        let response = alongside(answer, poll_fn(|cx| running.poll(cx, Phase::Request))).await;
        *pending = None;
        let response = response?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    /// Reads a body to its end, within bounds; whether another request can be made afterwards.
    pub(super) async fn drain(&mut self, mut body: Body) -> bool {
        let Self { sender, running, .. } = self;
        let rest = async {
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| failure::of_http1(&error, Phase::Request))?;
                length += frame.data_ref().map_or(0, Bytes::len);
                if length > BODY_MAX {
                    return Err(Failure::Protocol("body too long".to_owned()));
                }
            }
            sender.ready().await.map_err(|error| failure::of_http1(&error, Phase::Request))
        };
        alongside(rest, poll_fn(|cx| running.poll(cx, Phase::Request))).await.is_ok() && !self.running.over
    }

    pub(super) async fn ending(&mut self) -> Failure {
        poll_fn(|cx| self.running.poll(cx, Phase::Idle)).await
    }
}
