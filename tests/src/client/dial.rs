//! Opening a connection, and names for the ways in which that fails.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Endpoint, Family, TlsOptions};
use crate::slowness::stretched;
use crate::tls;

/// An address to connect to, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    family: Family,
    connect_timeout: Duration,
    pub(super) timeout: Duration,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A byte stream, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connected socket before TLS.
pub(super) struct Connected {
    pub(super) stream: TcpStream,
    /// Time that connect() took.
    pub(super) took: Duration,
}

/// The name of a failure: the errno (`ECONNREFUSED`), or `connect-timeout`, `timeout`, `eof`, `tls-…`, `http-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Target {
    pub(super) async fn resolve(endpoint: &Endpoint, tls: &TlsOptions) -> anyhow::Result<Self> {
        let address = lookup_host(&endpoint.to)
            .await
            .with_context(|| format!("resolve {}", endpoint.to))?
            .find_map(|address| endpoint.family.form(address))
            .with_context(|| format!("{} has no address for this --family", endpoint.to))?;
        let tls = match (tls.tls, &tls.ca) {
            (false, _) => None,
            (true, None) => bail!("--tls needs --ca"),
            (true, Some(ca)) => {
                let name = tls.server_name.clone().unwrap_or_else(|| address.ip().to_canonical().to_string());
                let name = ServerName::try_from(name).context("read --server-name")?;
                Some((tls::client_config(ca)?, name))
            }
        };
        Ok(Self {
            address,
            family: endpoint.family,
            connect_timeout: stretched(endpoint.connect_timeout),
            timeout: stretched(endpoint.timeout),
            tls,
        })
    }

    /// connect() with its deadline.
    pub(super) async fn connect(&self) -> Result<Connected, Failure> {
        let socket = match self.family {
            Family::V4 => TcpSocket::new_v4(),
            Family::Mapped | Family::V6 => TcpSocket::new_v6(),
        }?;
        let started = Instant::now();
        let stream = timeout(self.connect_timeout, socket.connect(self.address))
            .await
            .map_err(|_| Failure("connect-timeout".into()))??;
        let took = started.elapsed();
        stream.set_nodelay(true)?;
        Ok(Connected { stream, took })
    }

    /// The TLS handshake, where asked for. The caller sets the deadline.
    pub(super) async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Stream>, Failure> {
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
        }
    }

    /// What getpeername() says, in the form that the user gave: a mapped socket's IPv4 peer without `::ffff:`.
    pub(super) fn peer(&self, stream: &TcpStream) -> Result<SocketAddr, Failure> {
        let peer = stream.peer_addr()?;
        Ok(match self.family {
            Family::V4 | Family::V6 => peer,
            Family::Mapped => SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        })
    }
}

impl Family {
    /// `address` as this kind of socket gives it to connect(), if it can.
    fn form(self, address: SocketAddr) -> Option<SocketAddr> {
        match (self, address) {
            (Family::V4, SocketAddr::V4(_)) | (Family::V6, SocketAddr::V6(_)) => Some(address),
            (Family::Mapped, SocketAddr::V4(v4)) => {
                let mapped: Ipv6Addr = v4.ip().to_ipv6_mapped();
                Some(SocketAddr::from((mapped, v4.port())))
            }
            (Family::V4, SocketAddr::V6(_)) | (Family::Mapped, SocketAddr::V6(_)) => None,
            (Family::V6, SocketAddr::V4(_)) => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if let Some(errno) = Errno::from_io_error(&error) {
            return Self(errno_name(errno));
        }
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self(tls_name(tls).into());
        }
        Self(if error.kind() == ErrorKind::UnexpectedEof { "eof".into() } else { error.to_string() })
    }
}

fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::PIPE => "EPIPE",
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::MFILE => "EMFILE",
        other => return format!("errno-{}", other.raw_os_error()),
    };
    name.into()
}

fn tls_name(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "tls-certificate",
        rustls::Error::InvalidMessage(_) => "tls-garbage",
        rustls::Error::AlertReceived(_) => "tls-alert",
        _ => "tls-other",
    }
}
