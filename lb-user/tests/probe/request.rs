use std::convert::Infallible;

use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_core::probe::{CheckKind, HttpCheck};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::{
    fixture::{Backend, Probed, status, target},
    pki::{Authority, H2},
};

#[derive(Clone, Copy, Debug)]
enum Way {
    Http1,
    Http2,
}

type Told = mpsc::Sender<(Parts, Bytes)>;

/// Answers 204, and tells what was asked.
async fn serve<S>(stream: S, way: Way, told: Told)
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
    let stream = TokioIo::new(stream);
    let _ended = match way {
        Way::Http1 => http1::Builder::new().serve_connection(stream, service).await,
        Way::Http2 => http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await,
    };
}

async fn backend(way: Way, authority: &Authority, told: Told) -> Backend {
    let acceptor = authority.acceptor("127.0.0.1", H2);
    Backend::start(move |stream| {
        let (acceptor, told) = (acceptor.clone(), told.clone());
        async move {
            match way {
                Way::Http1 => serve(stream, way, told).await,
                Way::Http2 => serve(acceptor.accept(stream).await.unwrap(), way, told).await,
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
    for way in [Way::Http1, Way::Http2] {
        let authority = Authority::new();
        let (told, mut asked) = mpsc::channel(4);
        let backend = backend(way, &authority, told).await;
        let (trust, settings) = authority.trust();
        let kind = match way {
            Way::Http1 => CheckKind::Http(check.clone()),
            Way::Http2 => CheckKind::Https(check.clone(), trust),
        };
        let mut probed = Probed::new(target(backend.address, kind), Some(settings));
        for _ in 0..2 {
            probed.expect_ready().await;
            let (head, body) = asked.recv().await.unwrap();
            let values = |name| head.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/healthz"), "{way:?}");
            assert_eq!(values("accept"), ["text/plain"], "{way:?}");
            assert_eq!(values("x-probe"), ["a", "b"], "{way:?}");
            assert_eq!(values("content-length"), ["13"], "{way:?}");
            assert_eq!(body, "are you well?", "{way:?}");
        }
        assert_eq!(backend.accepted(), 1, "{way:?}");
    }
}
