//! One HTTP/2 connection over TLS, kept as the agent keeps its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::Request;
use http::uri::Uri;
use lb_tests::tls;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A master that takes longer to let somebody in has failed to.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// A question that is not answered by then never will be: five times the agent's own timeout.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Where and how to connect.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
    readyz: Uri,
}

/// A connection on which questions are asked one after another. It ends when this is dropped.
pub(super) struct Peer {
    pings: PingPong,
    requests: SendRequest<&'static [u8]>,
    readyz: Uri,
    driver: JoinHandle<()>,
}

impl Target {
    pub(super) fn new(address: SocketAddr, ca: &Path, name: &str) -> anyhow::Result<Self> {
        let mut config = (*tls::client_config(ca)?).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(name.to_owned()).context("read the server's name")?,
            readyz: format!("https://{name}/readyz").parse().context("read the server's name")?,
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
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let stream = self.tls.connect(self.name.clone(), stream).await.context("shake hands")?;
        let (requests, mut connection) =
            h2::client::Builder::new().enable_push(false).handshake(stream).await.context("begin HTTP/2")?;
        let pings = connection.ping_pong().context("take the connection's pings")?;
        // How a connection ends is seen in the answers that do not come.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Peer { pings, requests, readyz: self.readyz.clone(), driver })
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
        let request = Request::get(self.readyz.clone()).body(())?;
        poll_fn(|cx| self.requests.poll_ready(cx)).await?;
        let (response, _) = self.requests.send_request(request, true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "status {}", response.status());
        let mut body = response.into_body();
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece?.len())?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
