//! Requests over a unix socket: the stand-in's control socket and the agent's admin socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::slowness::stretched;

/// Longest wait for each read and write. A stopped process answers nothing.
const DEADLINE: Duration = Duration::from_secs(2);
/// No answer of either socket comes near this.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// A status and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends one request, with `body` as JSON if it is not empty, and reads the whole answer.
///
/// # Errors
/// When nobody listens, nobody answers in time, or the answer is not HTTP.
pub fn request(socket: &Path, method: &str, path: &str, body: &str) -> anyhow::Result<Response> {
    exchange(socket, method, path, body).with_context(|| format!("{method} {path} over {}", socket.display()))
}

fn exchange(socket: &Path, method: &str, path: &str, body: &str) -> anyhow::Result<Response> {
    let mut stream = UnixStream::connect(socket).context("connect")?;
    let deadline = stretched(DEADLINE);
    stream.set_read_timeout(Some(deadline)).context("set a deadline")?;
    stream.set_write_timeout(Some(deadline)).context("set a deadline")?;
    // HTTP/1.0 spares us chunked bodies: the server closes after the last byte.
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .context("send")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).context("receive")?;
    parse(&answer).with_context(|| format!("read the answer {answer:?}"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}
