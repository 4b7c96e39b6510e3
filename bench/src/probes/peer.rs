//! Two connections over TLS, kept as the agent keeps its own: HTTP/2 for PINGs, HTTP/1.1 for requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2::{Ping, PingPong};
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_tests::tls;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A master that takes longer to let somebody in has failed to.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// A question that is not answered by then never will be: five times the agent's own timeout.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Where and how to connect.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    pings: TlsConnector,
    requests: TlsConnector,
    name: ServerName<'static>,
    host: String,
}

/// Connections on which questions are asked one after another. They end when this is dropped.
pub(super) struct Peer {
    pings: PingPong,
    /// The connection for PINGs ends with the last of these.
    _sender: h2::client::SendRequest<Bytes>,
    requests: http1::SendRequest<Empty<Bytes>>,
    host: String,
    drivers: [JoinHandle<()>; 2],
}

impl Target {
    pub(super) fn new(address: SocketAddr, ca: &Path, name: &str) -> anyhow::Result<Self> {
        let requests = tls::client_config(ca)?;
        let mut pings = (*requests).clone();
        pings.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            address,
            pings: TlsConnector::from(Arc::new(pings)),
            requests: TlsConnector::from(requests),
            name: ServerName::try_from(name.to_owned()).context("read the server's name")?,
            host: name.to_owned(),
        })
    }

    pub(super) async fn open(&self) -> anyhow::Result<Peer> {
        timeout(OPEN_DEADLINE, self.dial())
            .await
            .context("no answer")
            .flatten()
            .with_context(|| format!("open a connection to {}", self.address))
    }

    async fn dial(&self) -> anyhow::Result<Peer> {
        let stream = TokioIo::new(self.secured(&self.requests).await?);
        let (requests, connection) = http1::handshake(stream).await.context("begin HTTP/1.1")?;
        // How a connection ends is seen in the answers that do not come.
        let answers = tokio::spawn(async move { drop(connection.await) });
        let builder = h2::client::Builder::new().enable_push(false).to_owned();
        let (sender, mut connection) =
            builder.handshake(self.secured(&self.pings).await?).await.context("begin HTTP/2")?;
        let pings = connection.ping_pong().context("take the connection's pings")?;
        let pongs = tokio::spawn(async move { drop(connection.await) });
        let (host, drivers) = (self.host.clone(), [answers, pongs]);
        Ok(Peer { pings, _sender: sender, requests, host, drivers })
    }

    async fn secured(&self, tls: &TlsConnector) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        tls.connect(self.name.clone(), stream).await.context("shake hands")
    }
}

impl Peer {
    /// A PING and its answer.
    pub(super) async fn ping(&mut self) -> anyhow::Result<()> {
        timeout(ANSWER_DEADLINE, self.pings.ping(Ping::opaque()))
            .await
            .context("PING: no answer")?
            .context("PING")?;
        Ok(())
    }

    /// GET /readyz and its answer.
    pub(super) async fn readyz(&mut self) -> anyhow::Result<()> {
        timeout(ANSWER_DEADLINE, self.get()).await.context("GET /readyz: no answer")?.context("GET /readyz")
    }

    async fn get(&mut self) -> anyhow::Result<()> {
        let request = Request::get("/readyz").header(HOST, &self.host).body(Empty::new())?;
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        ensure!(response.status() == 200, "status {}", response.status());
        response.into_body().collect().await?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.drivers.iter().for_each(JoinHandle::abort);
    }
}
