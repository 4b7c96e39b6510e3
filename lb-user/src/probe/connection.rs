use std::{future::Future, pin::pin, time::Instant};

use lb_core::probe::Failure;
use tokio::time;

use super::{
    http1::{self, Http1},
    http2::{self, Http2},
    plan::Question,
    tcp::Tcp,
};

/// The most of an answer's body that is read so that its connection can be used again. Those of `/readyz` have two
/// bytes, and a few KiB when it is verbose.
pub(super) const BODY_MAX: usize = 64 << 10;

/// One connection to a backend.
pub(super) enum Connection {
    Tcp(Tcp),
    Http(Http),
}

/// One connection that requests can be made on.
pub(super) enum Http {
    One(Box<Http1>),
    Two(Box<Http2>),
}

/// What a connection tells between two requests.
pub(super) enum Sign {
    /// It ended, and why.
    Over(Failure),
    /// The answer to what was asked then is missed.
    Missed(Instant),
    /// It has come after all.
    Answered,
}

/// The head of an answer, and what is needed for the rest of it.
pub(super) struct Head {
    pub(super) status: u16,
    body: Body,
}

enum Body {
    One(http1::Body),
    Two(http2::Body),
}

impl Connection {
    /// Waits for what it tells by itself. May be dropped and called again.
    pub(super) async fn sign(&mut self) -> Sign {
        match self {
            Self::Tcp(tcp) => Sign::Over(tcp.ending().await),
            Self::Http(Http::One(http)) => Sign::Over(http.ending().await),
            Self::Http(Http::Two(http)) => http.sign().await,
        }
    }
}

impl Http {
    /// Makes a request, and waits for the head of the answer.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Head, Failure> {
        match self {
            Self::One(http) => {
                let (status, body) = http.ask(question.http1()).await?;
                Ok(Head { status, body: Body::One(body) })
            }
            Self::Two(http) => {
                let (request, body) = question.http2();
                let (status, body) = http.ask(request, body).await?;
                Ok(Head { status, body: Body::Two(body) })
            }
        }
    }

    /// A request on it was given up. Whether it will tell when it is of use again.
    pub(super) fn stalled(&mut self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Two(http) => http.stalled(),
        }
    }

    /// Reads on to the end of an answer of this connection, within bounds. Returns the connection if it can be used
    /// or watched afterwards.
    pub(super) async fn finish(self, head: Head, deadline: time::Instant) -> Option<Self> {
        match (self, head.body) {
            (Self::One(mut http), Body::One(body)) => {
                let reusable = time::timeout_at(deadline, http.drain(body)).await.unwrap_or(false);
                reusable.then_some(Self::One(http))
            }
            (Self::Two(mut http), Body::Two(body)) => {
                // Dropping a body resets its stream, and only that.
                time::timeout_at(deadline, http.drain(body)).await.unwrap_or(());
                http.heard();
                Some(Self::Two(http))
            }
            (Self::One(_), Body::Two(_)) | (Self::Two(_), Body::One(_)) => None,
        }
    }
}

/// Waits for something on a connection while the connection runs.
pub(super) async fn alongside<T>(
    wanted: impl Future<Output = Result<T, Failure>>,
    ending: impl Future<Output = Failure>,
) -> Result<T, Failure> {
    let mut wanted = pin!(wanted);
    let why = tokio::select! {
        biased;
        result = &mut wanted => return result,
        why = ending => why,
    };
    // The last that the connection did may have been to bring what is waited for.
    tokio::select! {
        biased;
        result = wanted => match result {
            // Often no more than that the connection is over.
            Err(Failure::Closed(_)) => Err(why),
            Ok(_) | Err(_) => result,
        },
        () = std::future::ready(()) => Err(why),
    }
}
