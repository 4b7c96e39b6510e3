use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_core::{
    model::BackendKey,
    probe::{CheckKind, HttpCheck, ProbeOutcome, ProbeTarget},
};
use lb_user::probe::{ProbeEvent, ProbeRequest, Prober, tls::TlsSettings};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, BOTH, HTTP1};

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a server answers with.
pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server on the loopback; dropping it closes the listener and all connections.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start<F, Fut>(handle: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(handle(stream));
            }
        });
        Self { address, accepted, task }
    }

    /// A server of plain HTTP/1.1.
    pub(crate) async fn http(answer: fn(&Request<Incoming>) -> Answer) -> Self {
        Self::start(move |stream| serve1(stream, answer)).await
    }

    /// A server of HTTP/1.1 or HTTP/2 over TLS.
    pub(crate) async fn https(acceptor: TlsAcceptor, answer: fn(&Request<Incoming>) -> Answer) -> Self {
        Self::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    serve2(stream, answer).await;
                } else {
                    serve1(stream, answer).await;
                }
            }
        })
        .await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve1<S>(stream: S, answer: fn(&Request<Incoming>) -> Answer)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request)) });
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub(crate) async fn serve2<S>(stream: S, answer: fn(&Request<Incoming>) -> Answer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request)) });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Reads what has come, and returns its length; 0 once the other end is gone.
pub(crate) async fn receive(stream: &mut TcpStream) -> usize {
    stream.read(&mut [0; 4096]).await.unwrap_or(0)
}

pub(crate) fn status(code: u16) -> Answer {
    let body = http_body_util::Full::new(Bytes::from_static(b"ok")).boxed();
    Response::builder().status(code).body(body).unwrap()
}

pub(crate) fn ok(_: &Request<Incoming>) -> Answer {
    status(200)
}

/// A body without end, of as many bytes as were taken.
pub(crate) fn endless(taken: &'static AtomicUsize) -> Answer {
    struct Endless(&'static AtomicUsize);
    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            const CHUNK: &[u8] = &[b'x'; 4096];
            self.0.fetch_add(CHUNK.len(), Ordering::Relaxed);
            std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(CHUNK)))))
        }
    }
    Response::new(Endless(taken).boxed())
}

/// The three ways to speak HTTP, each with a server that gives `answer`.
pub(crate) async fn three_ways(
    answer: fn(&Request<Incoming>) -> Answer,
) -> [(&'static str, Backend, Probed); 3] {
    let authority = Authority::new();
    let plain = Backend::http(answer).await;
    let one = Backend::https(authority.acceptor("127.0.0.1", HTTP1), answer).await;
    let two = Backend::https(authority.acceptor("127.0.0.1", BOTH), answer).await;
    let probed = [Probed::http(&plain), Probed::https(&one, &authority), Probed::https(&two, &authority)];
    let [a, b, c] = probed;
    [("http", plain, a), ("https, HTTP/1.1", one, b), ("https, HTTP/2 too", two, c)]
}

pub(crate) fn check() -> HttpCheck {
    HttpCheck::get("/readyz", [200, 401])
}

pub(crate) fn target(address: SocketAddr, kind: CheckKind) -> ProbeTarget {
    ProbeTarget {
        key: BackendKey { service: "apiserver".parse().unwrap(), address },
        kind,
        hostname: None,
        timeout: Duration::from_secs(2),
        heartbeat: None,
        patience: Duration::from_secs(2),
    }
}

/// A prober with its events.
pub(crate) struct Probed {
    pub(crate) prober: Prober,
    pub(crate) events: mpsc::Receiver<ProbeEvent>,
    asked: u64,
}

impl Probed {
    pub(crate) fn new(target: ProbeTarget, tls: Option<TlsSettings>) -> Self {
        let (sender, events) = mpsc::channel(16);
        Self { prober: Prober::spawn(target, tls, sender), events, asked: 0 }
    }

    pub(crate) fn http(backend: &Backend) -> Self {
        Self::new(target(backend.address, CheckKind::Http(check())), None)
    }

    pub(crate) fn tcp(backend: &Backend) -> Self {
        Self::new(target(backend.address, CheckKind::Tcp), None)
    }

    pub(crate) fn https(backend: &Backend, authority: &Authority) -> Self {
        Self::https_with(backend, authority, |_| {})
    }

    pub(crate) fn https_with(backend: &Backend, authority: &Authority, change: fn(&mut ProbeTarget)) -> Self {
        let (trust, settings) = authority.trust();
        let mut target = target(backend.address, CheckKind::Https(check(), trust));
        change(&mut target);
        Self::new(target, Some(settings))
    }

    pub(crate) async fn event(&mut self) -> ProbeEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("a prober that runs")
    }

    /// The next event, or none within `time`.
    pub(crate) async fn event_within(&mut self, time: Duration) -> Option<ProbeEvent> {
        timeout(time, self.event()).await.ok()
    }

    /// Makes a probe, and expects it to be the next that is told.
    pub(crate) async fn outcome(&mut self) -> ProbeOutcome {
        self.asked += 1;
        self.prober.probe(ProbeRequest { attempt: self.asked, ..ProbeRequest::default() });
        match self.event().await {
            ProbeEvent::Done { attempt, outcome, .. } if attempt == self.asked => outcome,
            other => panic!("{other:?} instead of attempt {}", self.asked),
        }
    }

    pub(crate) async fn expect_ready(&mut self) {
        let outcome = self.outcome().await;
        assert!(matches!(outcome, ProbeOutcome::Ready { .. }), "{outcome:?}");
    }

    /// Does what an agent does, for a while: probes at once when the connection was lost.
    pub(crate) async fn probe_when_lost(&mut self, time: Duration) {
        let looping = async {
            self.prober.probe(ProbeRequest { attempt: 0, ..ProbeRequest::default() });
            loop {
                if let ProbeEvent::ConnectionLost { .. } = self.event().await {
                    self.prober.probe(ProbeRequest { attempt: 0, ..ProbeRequest::default() });
                }
            }
        };
        let _elapsed = timeout(time, looping).await;
    }
}
