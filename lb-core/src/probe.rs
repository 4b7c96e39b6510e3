//! What a probe asks, and what can come of it.

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::model::{BackendKey, Hostname};

/// How a service's backends are checked: `health:` in the config file, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next, while nothing is wrong. Never zero.
    pub interval: Duration,
    /// The longest that a probe may take, connecting included. Never zero, never above `interval`.
    pub timeout: Duration,
    /// Failures in a row until the verdict.
    pub fall: NonZeroU32,
    /// Successes in a row until a backend that was down is up again.
    pub rise: NonZeroU32,
    /// From one sign of life on the kept connection to the next, where it speaks HTTP/2; `None`: off.
    pub heartbeat: Option<Duration>,
    /// Silence of a host that may only be overloaded before its connections are ended.
    pub dead_after: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connect.
    Tcp,
    /// An HTTP request.
    Http(HttpCheck),
    /// An HTTP request over TLS, by HTTP/2 where the backend speaks it.
    Https(HttpCheck, TlsCheck),
}

/// The request, and which answers mean ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The request's method, such as `GET`; never `CONNECT`.
    pub method: String,
    /// The path and query, beginning with `/`.
    pub path: String,
    /// Headers beside those of every probe, or in their place: names and values. A name may come several times; none is
    /// of [`CONNECTION_HEADERS`].
    pub headers: Vec<(String, String)>,
    /// What the request carries; most carry nothing.
    pub body: String,
    /// The status codes that mean ready. Never empty; each in 100..=599.
    pub expect: Vec<u16>,
}

/// Headers that the connection decides on, in lower case: no check sets them. HTTP/2 forbids most of them (RFC 9113
/// section 8.2.2); the others say where the request goes and how long it is.
pub const CONNECTION_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl HttpCheck {
    /// A GET, with nothing but what every probe has.
    pub fn get(path: impl Into<String>, expect: impl Into<Vec<u16>>) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
            expect: expect.into(),
        }
    }
}

/// Whom a probe trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// The authority of the backend's certificate.
    pub ca: Ca,
    /// The name that the certificate must carry.
    pub server_name: ServerName,
}

/// Where kubeadm puts the cluster's authority.
pub const CLUSTER_CA: &str = "/etc/kubernetes/pki/ca.crt";

/// The authority of a backend's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// [`CLUSTER_CA`] if it exists, else unverified with a warning.
    Auto,
    /// The certificates in a PEM file.
    File(PathBuf),
    /// Nothing is verified.
    Insecure,
}

/// The name that a backend's certificate must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// The service's host name, or the backend's address where it has none.
    Auto,
    /// This DNS name or IP address.
    Name(String),
}

/// One backend to be probed, with all that a prober needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Whose verdict it is.
    pub key: BackendKey,
    /// What is asked.
    pub kind: CheckKind,
    /// The service's host name, for [`ServerName::Auto`] and the Host header.
    pub hostname: Option<Hostname>,
    /// The longest that one probe may take, connecting included.
    pub timeout: Duration,
    /// See [`HealthCheck::heartbeat`].
    pub heartbeat: Option<Duration>,
    /// See [`HealthCheck::patience`].
    pub patience: Duration,
}

impl ProbeTarget {
    /// The real address that is dialled.
    pub fn address(&self) -> SocketAddr {
        self.key.address
    }
}

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It answered as expected.
    Ready {
        /// From the start of the probe to the end of the answer's head.
        latency: Duration,
    },
    /// It answered that anonymous requests are refused, which is expected.
    Denied {
        /// From the start of the probe to the end of the answer's head.
        latency: Duration,
        /// The HTTP status: 403.
        status: u16,
    },
    /// It answered, but not as expected.
    NotReady {
        /// From the start of the probe to the end of the answer's head.
        latency: Duration,
        /// The HTTP status.
        status: u16,
    },
    /// It gave no usable answer.
    Failed(Failure),
    /// The probe itself could not be made (no file descriptor, no local port, no permission): says nothing about
    /// the backend, in either direction.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

/// Something was asked, and no answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// When it was asked.
    pub since: Instant,
    /// What the backend's host has said meanwhile.
    pub host: HostSign,
}

/// What a host says while its backend is silent: its kernel answers though a process hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSign {
    /// It has acknowledged what was asked: the process hangs, or is slow.
    Acknowledged,
    /// It has answered, but not acknowledged what was asked: packets get lost on the way.
    Lossy,
    /// The backend itself has sent something to this node, on whatever connection: it does not hang, only our answer is
    /// late or lost.
    Serving {
        /// When, of late.
        heard: Instant,
    },
    /// Nothing at all, though so many packets were sent.
    Nothing {
        /// Attempts to reach it since the question.
        packets: u32,
    },
}

/// Why a backend gave no usable answer. `Display` is the REASON that people see, for example
/// `connect: connection refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "detail")]
pub enum Failure {
    /// The host answered the SYN with a RST: nobody listens.
    Refused,
    /// The host or a router says that there is no way (ICMP unreachable, no route, no ARP answer).
    Unreachable(String),
    /// No answer in time.
    Timeout(Phase),
    /// Not a packet came from the host, however many were sent.
    HostSilent,
    /// The connection was reset after it was made.
    Reset(Phase),
    /// The connection was closed without an answer.
    Closed(Phase),
    /// The backend's certificate is not one that we trust: another authority, another name, expired.
    Certificate(String),
    /// The TLS handshake failed for another reason.
    Tls(String),
    /// What came back is not HTTP.
    Protocol(String),
}

/// How far a probe came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Before the TCP connection was made.
    Connect,
    /// In the TLS handshake.
    Handshake,
    /// Waiting for the answer to the request.
    Request,
    /// Between two requests, on the kept connection.
    Idle,
}

impl Failure {
    /// Whether the backend's kernel still accepted the TCP connection of this probe.
    pub fn accepted_tcp(&self) -> bool {
        match self {
            Self::Refused | Self::Unreachable(_) | Self::HostSilent => false,
            Self::Timeout(phase) | Self::Reset(phase) | Self::Closed(phase) => *phase != Phase::Connect,
            Self::Certificate(_) | Self::Tls(_) | Self::Protocol(_) => true,
        }
    }

    /// Whether the backend said so itself, at once: asking again soon is cheap, and waiting longer would not help.
    /// A timeout is not prompt: the backend may only be slow.
    pub fn is_prompt(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::HostSilent => false,
            Self::Refused
            | Self::Unreachable(_)
            | Self::Reset(_)
            | Self::Closed(_)
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Protocol(_) => true,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Handshake => "tls handshake",
            Self::Request => "request",
            Self::Idle => "idle connection",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connect: connection refused"),
            Self::Unreachable(why) => write!(f, "connect: {why}"),
            Self::Timeout(phase) => write!(f, "{phase}: timed out"),
            Self::HostSilent => f.write_str("host is silent: it acknowledges no packet"),
            Self::Reset(phase) => write!(f, "{phase}: connection reset"),
            Self::Closed(phase) => write!(f, "{phase}: closed without an answer"),
            Self::Certificate(why) => write!(f, "tls: bad certificate: {why}"),
            Self::Tls(why) => write!(f, "tls: {why}"),
            Self::Protocol(why) => write!(f, "not HTTP: {why}"),
        }
    }
}
