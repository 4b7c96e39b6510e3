//! The control socket: HTTP over a unix socket, by which a test changes the stand-in while it runs.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::answers::{stats, text};
use super::body::Answer;
use super::cluster::Watching;
use super::state::{Misbehaviour, State};

/// Binds the control socket; a socket left over by a killed predecessor is replaced.
pub(super) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old control socket {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(path).with_context(|| format!("bind the control socket {}", path.display()))
}

/// Serves the control socket for the life of the process.
pub(super) async fn serve(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = command(&state, request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            // A control client that goes away has its answer or does not want it.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn command(state: &State, method: &Method, path: &str) -> Response<Answer> {
    if method == Method::GET {
        return match path {
            "/stats" => stats(state),
            _ => text(StatusCode::NOT_FOUND, format!("nothing to get at {path}\n")),
        };
    }
    match apply(state, path) {
        Some(()) => stats(state),
        None => text(StatusCode::BAD_REQUEST, format!("not a command: {path}\n")),
    }
}

fn apply(state: &State, path: &str) -> Option<()> {
    let (subject, value) = path.strip_prefix('/')?.split_once('/')?;
    match (subject, value) {
        ("readyz", "pause") => state.pause_readyz(true),
        ("readyz", "resume") => state.pause_readyz(false),
        ("readyz", status) => state.set_readyz_status(StatusCode::from_bytes(status.as_bytes()).ok()?),
        ("delay", ms) => state.set_delay_ms(ms.parse().ok()?),
        ("cluster", list) => {
            let mut listed = None;
            state.cluster().send_modify(|cluster| listed = cluster.list(list));
            listed?;
        }
        ("watch", name) => {
            let watching = Watching::from_str(name, false).ok()?;
            state.cluster().send_modify(|cluster| cluster.watch_as(watching));
        }
        ("misbehave", name) => state.set_misbehaviour(Misbehaviour::from_str(name, false).ok()?),
        _ => return None,
    }
    Some(())
}
