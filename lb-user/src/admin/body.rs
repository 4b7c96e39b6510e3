//! Answers, and the reading of requests' bodies.

use std::time::Duration;

use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;

use super::{Agent, events::EventBody, ready::obstacles, wire::Refusal};

/// What an answer consists of: all at once, or events one by one.
pub(super) type Body = Either<Full<Bytes>, EventBody>;

/// The longest body of a request: the longest valid one has about 40 bytes.
const BODY_MAX: usize = 16 * 1024;

/// Any text.
pub(super) fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let mut written = serde_json::to_string(value).map_err(|e| Refusal::Unwritable(e.to_string()))?;
    written.push('\n');
    Ok(text(status, "application/json", written))
}

/// An error as JSON.
pub(super) fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = json(refusal.status(), &refusal.body())
        .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "application/json", String::new()));
    if let Some(allow) = refusal.allow() {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// `/healthz`: whether the agent's loop runs.
pub(super) fn healthz(agent: &Agent) -> Response<Body> {
    if agent.alive() { plain(StatusCode::OK, "ok") } else { gone() }
}

/// `/readyz`: whether this node reaches every service.
pub(super) fn readyz(agent: &Agent) -> Response<Body> {
    if !agent.alive() {
        return gone();
    }
    let found = obstacles(&agent.latest());
    if found.is_empty() {
        return plain(StatusCode::OK, "ok");
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, &found.join("\n"))
}

fn gone() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "the agent's loop has ended")
}

fn plain(status: StatusCode, line: &str) -> Response<Body> {
    text(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A request's whole body, within `deadline` and [`BODY_MAX`].
pub(super) async fn read(body: Incoming, deadline: Duration) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(deadline, Limited::new(body, BODY_MAX).collect())
        .await
        .map_err(|_| Refusal::BodyTooSlow { seconds: deadline.as_secs() })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLong { most: BODY_MAX }),
        Err(_) => Err(Refusal::BodyBroken),
    }
}
