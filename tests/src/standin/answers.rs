//! What each path answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::{self, Reply};
use super::body::{Answer, Bulk, Ticking, Written};
use super::clients::Caller;
use super::state::{Misbehaviour, State};
use crate::slowness::stretched;

/// Names the stand-in on every answer.
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const WATCH_PERIOD: Duration = Duration::from_millis(100);
/// About 3 MiB/s: enough to overrun any sane limit within a probe's timeout, without eating a core.
const FLOOD_PERIOD: Duration = Duration::from_millis(5);
const FLOOD_PIECE: &[u8] = &[b'x'; 16 * 1024];

/// From where a request comes, and from whom.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) caller: Caller,
}

/// Answers one request that came from `peer`.
pub(super) async fn answer(state: Arc<State>, peer: Peer, request: Request<Incoming>) -> Response<Answer> {
    let size = bulk_size(request.uri().path());
    let path = if size.is_some() { "/bulk" } else { known_path(request.uri().path()) };
    let watched = watched_since(request.uri().query().unwrap_or_default());
    state.count(path);
    let delay = state.delay();
    // Even a sleep of no time lasts until the timer's next millisecond.
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if path == "/readyz" {
        state.readyz_resumed().await;
    }
    let mut response = match (refused(peer.caller, path), path) {
        (Some(failure), _) => failure,
        (None, "/sink") => swallowed(request.into_body()).await,
        (None, _) => behave(&state, peer, path, size, watched),
    };
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        response.headers_mut().insert(SERVED_BY, name);
    }
    response
}

/// What kube-apiserver says to those whom it does not know: to a certificate that is no good never anything else, to nobody
/// in particular what is public.
fn refused(caller: Caller, path: &str) -> Option<Response<Answer>> {
    match caller {
        Caller::Refused => Some(failure(StatusCode::UNAUTHORIZED, "Unauthorized")),
        Caller::Anonymous if path.starts_with("/api") => Some(failure(StatusCode::FORBIDDEN, "Forbidden")),
        Caller::Anonymous | Caller::Known => None,
    }
}

fn behave(
    state: &Arc<State>,
    peer: Peer,
    path: &'static str,
    size: Option<u32>,
    watched: Option<u64>,
) -> Response<Answer> {
    match state.misbehaviour() {
        Misbehaviour::Redirect => redirect(),
        Misbehaviour::Unauthorized => failure(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Misbehaviour::Error500 => failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Misbehaviour::EndlessBody if path == "/readyz" => {
            stream(state, FLOOD_PERIOD, |_, _| Bytes::from_static(FLOOD_PIECE))
        }
        Misbehaviour::None
        | Misbehaviour::AcceptClose
        | Misbehaviour::Garbage
        | Misbehaviour::EndlessBody
        | Misbehaviour::Goaway => match (size, api::reply(state, path, watched)) {
            (Some(size), _) => bulk(size),
            (None, Some(reply)) => told(reply),
            (None, None) => proper(state, peer.address, path),
        },
    }
}

/// Reads a body to its end and tells its length.
async fn swallowed(mut body: Incoming) -> Response<Answer> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return failure(StatusCode::BAD_REQUEST, "BadRequest"),
        }
    }
    json_answer(&json!({"bytes": bytes}))
}

/// The counters as a JSON answer.
pub(super) fn stats(state: &State) -> Response<Answer> {
    whole(StatusCode::OK, "application/json", state.stats().to_string())
}

/// A plain-text answer.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response<Answer> {
    whole(status, "text/plain; charset=utf-8", body.into())
}

/// The path as counted: unknown ones share one counter, so that a caller cannot grow the map.
fn known_path(path: &str) -> &'static str {
    ["/readyz", "/livez", "/healthz", "/version", "/whoami", "/watch", "/connections", "/sink"]
        .into_iter()
        .chain(api::PATHS)
        .find(|known| *known == path)
        .unwrap_or("other")
}

fn proper(state: &Arc<State>, peer: SocketAddr, path: &str) -> Response<Answer> {
    match path {
        "/readyz" => readyz(state.readyz_status()),
        "/livez" | "/healthz" => text(StatusCode::OK, "ok"),
        "/version" => json_answer(&version()),
        "/whoami" => json_answer(&json!({"name": state.name, "peer": peer.to_string()})),
        "/watch" => stream(state, stretched(WATCH_PERIOD), watch_event),
        "/connections" => stats(state),
        _ => failure(StatusCode::NOT_FOUND, "NotFound"),
    }
}

/// The version from which a watch goes on; `None`: it is none.
fn watched_since(query: &str) -> Option<u64> {
    let value = |name| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value("watch").filter(|value| matches!(*value, "1" | "true"))?;
    Some(value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0))
}

fn told(reply: Reply) -> Response<Answer> {
    match reply {
        Reply::Object(value) => json_answer(&value),
        Reply::Watch(lines) => Response::new(Either::Right(Either::Right(Either::Right(Written(lines))))),
        Reply::Forbidden => failure(StatusCode::FORBIDDEN, "Forbidden"),
    }
}

/// Of `/bulk/MEBIBYTES`.
fn bulk_size(path: &str) -> Option<u32> {
    path.strip_prefix("/bulk/")?.parse().ok()
}

fn bulk(mebibytes: u32) -> Response<Answer> {
    Response::new(Either::Right(Either::Right(Either::Left(Bulk::new(mebibytes)))))
}

fn readyz(status: StatusCode) -> Response<Answer> {
    if status.is_success() {
        text(status, "ok")
    } else {
        text(status, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
    }
}

fn watch_event(state: &State, count: u64) -> Bytes {
    let event =
        json!({"type": "BOOKMARK", "object": {"server": state.name, "resourceVersion": count.to_string()}});
    Bytes::from(format!("{event}\n"))
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "34",
        "gitVersion": "v1.34.2",
        "gitTreeState": "clean",
        "goVersion": "go1.24.9",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

fn redirect() -> Response<Answer> {
    let mut response = text(StatusCode::FOUND, "");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
    response
}

/// A `Status` object as kube-apiserver words its errors.
fn failure(status: StatusCode, reason: &str) -> Response<Answer> {
    let object = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status.as_u16()});
    whole(status, "application/json", object.to_string())
}

fn json_answer(value: &Value) -> Response<Answer> {
    whole(StatusCode::OK, "application/json", value.to_string())
}

fn whole(status: StatusCode, content_type: &'static str, body: String) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn stream(state: &Arc<State>, period: Duration, piece: fn(&State, u64) -> Bytes) -> Response<Answer> {
    Response::new(Either::Right(Either::Left(Ticking::new(Arc::clone(state), period, piece))))
}
