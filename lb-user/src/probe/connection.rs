use std::{future::Future, pin::pin, time::Instant};

use lb_core::probe::Failure;

use super::{http1::Http1, tcp::Tcp};

/// The most of an answer's body that is read so that its connection can be used again. Those of `/readyz` have two
/// bytes, and a few KiB when it is verbose.
pub(super) const BODY_MAX: usize = 64 << 10;

/// The connection that probes are made on.
pub(super) enum Connection {
    Tcp(Tcp),
    Http(Box<Http1>),
}

/// What is heard of a backend between two requests.
pub(super) enum Sign {
    /// A connection ended, and why.
    Over(Failure),
    /// The answer to what was asked then is missed.
    Missed(Instant),
    /// It has come after all.
    Answered,
}

impl Connection {
    /// Waits for its end. May be dropped and called again.
    pub(super) async fn ending(&mut self) -> Failure {
        match self {
            Self::Tcp(tcp) => tcp.ending().await,
            Self::Http(http) => http.ending().await,
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
