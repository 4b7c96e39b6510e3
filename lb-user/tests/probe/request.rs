use std::convert::Infallible;

use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use lb_core::probe::{CheckKind, HttpCheck};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::{
    fixture::{Backend, Probed, status, target},
    pki::{Authority, BOTH},
};

type Told = mpsc::Sender<(Parts, Bytes)>;

/// Answers 204, and tells what was asked.
async fn serve<S>(stream: S, told: Told)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let told = told.clone();
        async move {
            let (head, body) = request.into_parts();
            told.send((head, body.collect().await.unwrap().to_bytes())).await.unwrap();
            Ok::<_, Infallible>(status(204))
        }
    });
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn backend(tls: bool, authority: &Authority, told: Told) -> Backend {
    let acceptor = authority.acceptor("127.0.0.1", BOTH);
    Backend::start(move |stream| {
        let (acceptor, told) = (acceptor.clone(), told.clone());
        async move {
            if tls {
                serve(acceptor.accept(stream).await.unwrap(), told).await;
            } else {
                serve(stream, told).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_method_the_headers_and_the_body_of_a_check_reach_the_backend_in_each_probe() {
    let pairs = [("Accept", "text/plain"), ("X-Probe", "a"), ("x-probe", "b")];
    let check = HttpCheck {
        method: "POST".to_owned(),
        headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: "are you well?".to_owned(),
        ..HttpCheck::get("/healthz", [204])
    };
    for tls in [false, true] {
        let authority = Authority::new();
        let (told, mut asked) = mpsc::channel(4);
        let backend = backend(tls, &authority, told).await;
        let (trust, settings) = authority.trust();
        let kind = if tls { CheckKind::Https(check.clone(), trust) } else { CheckKind::Http(check.clone()) };
        let mut probed = Probed::new(target(backend.address, kind), Some(settings));
        for _ in 0..2 {
            probed.expect_ready().await;
            let (head, body) = asked.recv().await.unwrap();
            let values = |name| head.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/healthz"), "tls: {tls}");
            assert_eq!(values("accept"), ["text/plain"], "tls: {tls}");
            assert_eq!(values("x-probe"), ["a", "b"], "tls: {tls}");
            assert_eq!(values("content-length"), ["13"], "tls: {tls}");
            assert_eq!(body, "are you well?", "tls: {tls}");
        }
        assert_eq!(backend.accepted(), 1, "tls: {tls}");
    }
}
