//! As much HTTP/1.1 as the lab needs: one request on a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::{Failure, Stream, Target};

/// No head or whole answer of the stand-in comes near this; more means that the peer is not one.
const MAX_ANSWER: usize = 64 * 1024;

/// One finished request.
pub(super) struct Served {
    /// The stand-in's name.
    pub(super) by: String,
    /// What getpeername() said.
    pub(super) peer: SocketAddr,
    /// Time that connect() took.
    pub(super) connect: Duration,
}

/// An open `/watch`.
pub(super) struct Watch {
    pub(super) by: String,
    pub(super) local: SocketAddr,
    stream: Box<dyn Stream>,
}

/// Opens a connection, asks `/whoami` and waits for the server to close.
pub(super) async fn whoami(target: &Target) -> Result<Served, Failure> {
    let connected = target.connect().await?;
    let peer = target.peer(&connected.stream)?;
    let asked = ask(target, connected.stream);
    let by = timeout(target.timeout, asked).await.map_err(|_| Failure("timeout".into()))??;
    Ok(Served { by, peer, connect: connected.took })
}

/// Asks `/whoami` on a connection, waits for the server to close, and returns its name. The caller sets the deadline.
pub(super) async fn ask(target: &Target, stream: TcpStream) -> Result<String, Failure> {
    let mut stream = target.secure(stream).await?;
    let head = get(&mut *stream, "/whoami").await?;
    to_the_end(&mut *stream).await?;
    Ok(head.served_by)
}

/// Opens a connection and starts to watch on it.
pub(super) async fn watch(target: &Target) -> Result<Watch, Failure> {
    let connected = target.connect().await?;
    let local = connected.stream.local_addr()?;
    let opening = async {
        let mut stream = target.secure(connected.stream).await?;
        let head = get(&mut *stream, "/watch").await?;
        Ok(Watch { by: head.served_by, local, stream })
    };
    timeout(target.timeout, opening).await.map_err(|_| Failure("timeout".into()))?
}

/// Sends so many bytes on a connection of its own; the server's name, once it has said that it got them all.
pub(super) async fn send(target: &Target, bytes: usize) -> Result<String, Failure> {
    let connected = target.connect().await?;
    let sending = async {
        let mut stream = target.secure(connected.stream).await?;
        let head = format!(
            "POST /sink HTTP/1.1\r\nhost: apiserver\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&vec![b'x'; bytes]).await?;
        stream.flush().await?;
        let head = answer(&mut *stream).await?;
        let mut body = String::new();
        stream.read_to_string(&mut body).await?;
        let told = format!(r#"{{"bytes":{bytes}}}"#);
        if body.trim() == told { Ok(head.served_by) } else { Err(Failure(format!("http-body {body}"))) }
    };
    timeout(target.timeout, sending).await.map_err(|_| Failure("timeout".into()))?
}

/// Fetches so many MiB on a connection of its own; the server's name, once they are here.
pub(super) async fn fetch(target: &Target, mebibytes: u64) -> Result<String, Failure> {
    let connected = target.connect().await?;
    let fetching = async {
        let mut stream = target.secure(connected.stream).await?;
        let head = get(&mut *stream, &format!("/bulk/{mebibytes}")).await?;
        let mut body = Vec::new();
        stream.read_to_end(&mut body).await?;
        let got = body.len() as u64;
        if got == mebibytes << 20 { Ok(head.served_by) } else { Err(Failure(format!("http-length {got}"))) }
    };
    timeout(target.timeout, fetching).await.map_err(|_| Failure("timeout".into()))?
}

impl Watch {
    /// Waits, for as long as it takes, for the next piece; fails when the stream has ended, however it did.
    pub(super) async fn next(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await? {
            0 => Err(Failure("eof".into())),
            _ => Ok(()),
        }
    }
}

struct Head {
    served_by: String,
}

async fn get(stream: &mut dyn Stream, path: &str) -> Result<Head, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: apiserver\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    answer(stream).await
}

/// Reads an answer up to its body.
async fn answer(stream: &mut dyn Stream) -> Result<Head, Failure> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER {
            return Err(Failure("http-head-too-long".into()));
        }
        // One byte at a time leaves the body in the stream; the head is some 150 bytes and TLS buffers below.
        head.push(stream.read_u8().await?);
    }
    parse(&head)
}

fn parse(head: &[u8]) -> Result<Head, Failure> {
    let head = std::str::from_utf8(head).map_err(|_| Failure("http-garbage".into()))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.split(' ').next())
        .ok_or_else(|| Failure("http-garbage".into()))?;
    if status != "200" {
        return Err(Failure(format!("http-{status}")));
    }
    let served_by = lines
        .find_map(|line| line.strip_prefix("x-served-by: "))
        .ok_or_else(|| Failure("http-no-served-by".into()))?;
    Ok(Head { served_by: served_by.to_owned() })
}

/// Reads until the server closes, so that the port's TIME_WAIT is the server's and the client never runs out of ports.
async fn to_the_end(stream: &mut dyn Stream) -> Result<(), Failure> {
    let mut rest = Vec::new();
    stream.take(MAX_ANSWER as u64).read_to_end(&mut rest).await?;
    if rest.is_empty() { Err(Failure("http-no-body".into())) } else { Ok(()) }
}
