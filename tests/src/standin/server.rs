//! Listening, TLS, and the life of a connection.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answers::{Peer, answer};
use super::clients::{Caller, Clients};
use super::state::{Misbehaviour, State};
use super::{body::Answer, control};
use crate::client::duration;
use crate::tls;

/// Longest queue of connections not yet accepted: a load generator's burst, far above what tests open at once.
const BACKLOG: u32 = 1024;
/// Time that established connections get to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// A peer that does not finish its TLS handshake must not hold the connection for ever.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// Flags of `apiserver-standin`.
#[derive(Debug, clap::Parser)]
#[command(name = "apiserver-standin", about = "A stand-in for kube-apiserver, with faults on request")]
pub struct Options {
    /// Address to listen on; may be repeated, IPv4 and IPv6
    #[arg(long, required = true, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Name given by /whoami and in the x-served-by header
    #[arg(long)]
    pub name: String,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", required_unless_present = "plain", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Authority of the clients that may ask for what is not public, PEM; without it everybody may
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    pub client_ca: Option<PathBuf>,
    /// Speak HTTP/1.1 without TLS
    #[arg(long)]
    pub plain: bool,
    /// Unix socket for changing the behaviour while running
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// How to be broken from the start
    #[arg(long, value_enum, default_value_t = Misbehaviour::None)]
    pub misbehave: Misbehaviour,
    /// After SIGTERM go on accepting and serving for so long, while /readyz fails; kube-apiserver's --shutdown-delay-duration
    #[arg(long, default_value = "0ms", value_parser = duration)]
    pub shutdown_delay: Duration,
}

/// Serves until SIGTERM or SIGINT, then lets connections finish; prints `ready` once it listens.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    raise_file_limit();
    let state = Arc::new(State::new(options.name.clone(), options.misbehave));
    let tls = tls(&options)?;
    if let Some(path) = &options.control {
        tokio::spawn(control::serve(control::bind(path)?, Arc::clone(&state)));
    }
    for address in &options.listen {
        let listener = listen(*address).with_context(|| format!("listen on {address}"))?;
        tokio::spawn(accept(listener, tls.clone(), Arc::clone(&state)));
    }
    println!("ready");
    std::io::stdout().flush().context("say that it is ready")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if !options.shutdown_delay.is_zero() {
        state.set_readyz_status(StatusCode::INTERNAL_SERVER_ERROR);
        sleep(options.shutdown_delay).await;
    }
    state.stop();
    // Connections that outlast the grace are cut by the exit.
    let _ = timeout(GRACE, state.all_closed()).await;
    Ok(())
}

/// As a Go program does by itself: every file descriptor that it may have. Where that fails, the limit stays.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How connections are secured, and whose certificates are taken.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    clients: Option<Clients>,
}

fn tls(options: &Options) -> anyhow::Result<Option<Tls>> {
    let (cert, key) = match (&options.cert, &options.key) {
        _ if options.plain => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => bail!("--cert and --key are needed unless --plain is given"),
    };
    let clients = options.client_ca.as_deref().map(Clients::new).transpose()?;
    let verifier =
        clients.clone().map_or_else(WebPkiClientVerifier::no_client_auth, |clients| Arc::new(clients));
    Ok(Some(Tls { acceptor: TlsAcceptor::from(tls::server_config(cert, key, verifier)?), clients }))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // So that 0.0.0.0 and [::] can be given side by side.
            set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, tls: Option<Tls>, state: Arc<State>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = state.stopped() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(converse(stream, peer, tls.clone(), Arc::clone(&state)));
            }
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

/// The whole life of one connection. Its errors are the peer's affair: a stand-in has nobody to tell.
async fn converse(mut stream: TcpStream, address: SocketAddr, tls: Option<Tls>, state: Arc<State>) {
    let _open = state.connection();
    match state.misbehaviour() {
        Misbehaviour::AcceptClose => return,
        Misbehaviour::Garbage => return garble(&mut stream).await,
        Misbehaviour::None
        | Misbehaviour::EndlessBody
        | Misbehaviour::Redirect
        | Misbehaviour::Unauthorized
        | Misbehaviour::Error500
        | Misbehaviour::Goaway => {}
    }
    let _ = stream.set_nodelay(true);
    let Some(Tls { acceptor, clients }) = tls else {
        return http1(stream, Peer { address, caller: Caller::Known }, &state).await;
    };
    let Ok(Ok(stream)) = timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await else { return };
    let shown = stream.get_ref().1.peer_certificates();
    let caller = clients.map_or(Caller::Known, |clients| clients.caller(shown));
    let peer = Peer { address, caller };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, peer, &state).await;
    } else {
        http1(stream, peer, &state).await;
    }
}

/// Waits for the peer to speak first, as a server does, then answers nonsense and waits for it to leave.
async fn garble(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    let _ = stream.read(&mut buffer).await;
    let _ = stream.write_all(&b"\x00\xfe\x07nonsense\r\n".repeat(64)).await;
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: Peer, state: &Arc<State>) {
    let answered = Arc::new(Notify::new());
    let service = service_fn(|request| respond(state, peer, request, &answered));
    let connection = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = leave(state, &answered) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, state: &Arc<State>) {
    let answered = Arc::new(Notify::new());
    let service = {
        let (state, answered) = (Arc::clone(state), Arc::clone(&answered));
        service_fn(move |request| respond(&state, peer, request, &answered))
    };
    let connection = server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = leave(state, &answered) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Returns when the connection is to be ended from this side.
async fn leave(state: &State, answered: &Notify) {
    tokio::select! {
        () = state.stopped() => {}
        () = answered.notified() => {}
    }
}

fn respond(
    state: &Arc<State>,
    peer: Peer,
    request: Request<Incoming>,
    answered: &Arc<Notify>,
) -> impl Future<Output = Result<hyper::Response<Answer>, Infallible>> + use<> {
    let (state, answered) = (Arc::clone(state), Arc::clone(answered));
    async move {
        // As kube-apiserver's UnauthenticatedHTTP2DOSMitigation has it.
        let unwanted = request.version() == Version::HTTP_2 && peer.caller != Caller::Known;
        let response = answer(Arc::clone(&state), peer, request).await;
        if unwanted || state.misbehaviour() == Misbehaviour::Goaway {
            answered.notify_one();
        }
        Ok(response)
    }
}
