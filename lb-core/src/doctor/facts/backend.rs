//! What is known of backends.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use jiff::Timestamp;

/// A backend that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendFact {
    /// Its address.
    pub address: SocketAddr,
    /// What came of it.
    pub answer: Result<AnswerFact, String>,
}

/// A backend's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFact {
    /// This node's clock when it came, and the answer's `Date`.
    pub clocks: Option<(Timestamp, Timestamp)>,
}

/// Where a certificate is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A backend sent it.
    Backend(SocketAddr),
    /// A file of this node's.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(address) => write!(f, "the certificate of {address}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// Where it is from.
    pub origin: Origin,
    /// Its DNS names.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}
