//! One loop for both listeners: accept, answer one request, close. Nothing a client does or leaves undone lasts
//! longer than its deadline.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::Either;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{Limits, body::Body};

/// The most that is kept of a request's head: a browser's has under 2 KiB. hyper wants at least 8 KiB.
const HEAD_MAX: usize = 16 * 1024;

/// The pause after a failed accept: most often file descriptors have run out, and the next try would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn accept(&self) -> io::Result<Self::Stream>;
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Who answers.
pub(super) trait Handler: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` is ready; then every connection is closed.
pub(super) async fn serve<L: Listener, H: Handler>(
    listener: &L,
    handler: H,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        while connections.try_join_next().is_some() {}
        // A place first: clients beyond the limit wait in the kernel's queue, which is bounded too.
        let accepted = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => return,
        };
        match accepted {
            Ok((place, stream)) => {
                let connection = converse(stream, handler.clone(), limits);
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse<S, H: Handler>(stream: S, handler: Arc<H>, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streaming = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (handler, streaming) = (handler.clone(), streaming.clone());
        async move {
            let response = handler.answer(request).await;
            streaming.store(matches!(response.body(), Either::Right(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut ended = tokio::time::timeout(limits.connection, connection.as_mut()).await;
    if ended.is_err() && streaming.load(Ordering::Relaxed) {
        ended = Ok(connection.await);
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a client's connection broke"),
        Err(_) => debug!("a client took too long"),
    }
}
