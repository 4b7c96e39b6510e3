//! Whom https probes trust.

mod unverified;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use lb_core::{
    model::Hostname,
    probe::{CLUSTER_CA, Ca, ServerName as Wanted, TlsCheck},
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::{Resumption, WantsClientCert},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use self::unverified::Unverified;

/// The protocols' names in ALPN (RFC 7301, section 6; RFC 9113, section 3.2).
const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// The longest file of authorities that is read. A bundle of all public ones has about 220 KiB.
const CA_FILE_MAX: u64 = 1 << 20;

/// What https probes of one service share: the authority, the cryptography.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    requests: Arc<ClientConfig>,
    pings: Arc<ClientConfig>,
}

/// What a user should know about settings that work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// `ca: auto`, and there is no authority.
    #[error(
        "the backends' certificates are not verified, since there is no {}; hint: set health.ca to a file, or to \
         `insecure` to say that this is meant",
        path.display()
    )]
    Unverified {
        /// Where one was looked for.
        path: PathBuf,
    },
}

/// Why TLS settings cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read.
    #[error("read the certificate authority {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file of authorities is far too long to be one.
    #[error("{} is longer than {CA_FILE_MAX} bytes: not a certificate authority", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file of authorities is not PEM.
    #[error("read the certificate authority {} as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The file of authorities has no certificate in it.
    #[error("no certificate in {}; hint: it has to have a line `-----BEGIN CERTIFICATE-----`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file is none.
    #[error("use the certificate authority {}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The name that certificates must carry is neither a DNS name nor an address.
    #[error("server name {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The cryptography does not fit the protocol versions.
    #[error("set up TLS")]
    Setup(#[source] rustls::Error),
}

impl TlsSettings {
    /// For requests: HTTP/1.1.
    pub(crate) fn requests(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.requests))
    }

    /// For PINGs: HTTP/2.
    pub(super) fn pings(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.pings))
    }

    fn new(config: &ClientConfig) -> Self {
        let of = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Self { requests: of(HTTP1), pings: of(HTTP2) }
    }
}

/// Makes the settings for one service's https probes. Reads the file of authorities; what changes there later is not
/// seen.
///
/// # Errors
///
/// A file that cannot be read or has no authority in it, or a server name that is none. `ca: auto` without a file is
/// a [`Warning`]; with a bad one it is an error.
pub fn load(check: &TlsCheck) -> Result<(TlsSettings, Option<Warning>), TlsError> {
    load_with(check, Path::new(CLUSTER_CA))
}

/// Settings that take any certificate, to see what is in it.
///
/// # Errors
/// When the cryptography does not fit the protocol versions.
pub(crate) fn trusting_anybody() -> Result<TlsSettings, TlsError> {
    Ok(TlsSettings::new(&client_config(None)?))
}

fn load_with(check: &TlsCheck, auto: &Path) -> Result<(TlsSettings, Option<Warning>), TlsError> {
    if let Wanted::Name(name) = &check.server_name {
        parse_name(name)?;
    }
    let (roots, warning) = match &check.ca {
        Ca::Insecure => (None, None),
        Ca::File(path) => (Some(read_roots(path)?), None),
        Ca::Auto => match read_roots(auto) {
            Ok(roots) => (Some(roots), None),
            Err(TlsError::Read { path, source }) if source.kind() == io::ErrorKind::NotFound => {
                (None, Some(Warning::Unverified { path }))
            }
            Err(error) => return Err(error),
        },
    };
    Ok((TlsSettings::new(&client_config(roots)?), warning))
}

/// The name that the backend's certificate must carry.
pub(super) fn server_name(
    wanted: &Wanted,
    hostname: Option<&Hostname>,
    address: IpAddr,
) -> Result<ServerName<'static>, TlsError> {
    match (wanted, hostname) {
        (Wanted::Name(name), _) => parse_name(name),
        (Wanted::Auto, Some(name)) => parse_name(name.as_str()),
        (Wanted::Auto, None) => Ok(ServerName::from(address)),
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName { name: name.to_owned() })
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    roots_of(&read_bounded(path)?, path)
}

/// The authorities in a text that comes from a file.
pub(crate) fn roots_of(text: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(roots)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CA_FILE_MAX + 1).read_to_end(&mut text));
    match read {
        Ok(length) if length as u64 > CA_FILE_MAX => Err(TlsError::TooLong { path: path.to_owned() }),
        Ok(_) => Ok(text),
        Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
    }
}

/// Whom a client trusts; without `roots`, nothing is verified.
pub(crate) fn trusting(
    roots: Option<RootCertStore>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
    })
}

fn client_config(roots: Option<RootCertStore>) -> Result<ClientConfig, TlsError> {
    let mut config = trusting(roots)?.with_no_client_auth();
    // Connections are kept, so handshakes are rare; and each is to prove anew who the backend is: a ticket of one
    // master would be offered to the others, which have the same name.
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(ca: Ca) -> TlsCheck {
        TlsCheck { ca, server_name: Wanted::Auto }
    }

    fn authority() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn auto_takes_the_clusters_authority_where_there_is_one_and_warns_where_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let (_, warning) = load_with(&check(Ca::Auto), &path).unwrap();
        assert_eq!(warning, Some(Warning::Unverified { path: path.clone() }));

        std::fs::write(&path, authority()).unwrap();
        assert_eq!(load_with(&check(Ca::Auto), &path).unwrap().1, None);

        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(load_with(&check(Ca::Auto), &path), Err(TlsError::Empty { .. })));
    }

    #[test]
    fn an_authority_that_cannot_be_used_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let file = || load(&check(Ca::File(path.clone())));
        assert!(matches!(file(), Err(TlsError::Read { .. })));

        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(file(), Err(TlsError::Pem { .. })));

        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(file(), Err(TlsError::Authority { .. })));

        std::fs::write(&path, vec![b'\n'; CA_FILE_MAX as usize + 1]).unwrap();
        assert!(matches!(file(), Err(TlsError::TooLong { .. })));

        std::fs::write(&path, authority() + &authority()).unwrap();
        assert!(file().is_ok());
    }

    #[test]
    fn a_server_name_is_a_dns_name_or_an_address() {
        let address = "10.0.0.1".parse().unwrap();
        let hostname = "api.local".parse().unwrap();
        let name = |wanted, host| server_name(&wanted, host, address).map(|name| name.to_str().into_owned());
        assert_eq!(name(Wanted::Auto, None).unwrap(), "10.0.0.1");
        assert_eq!(name(Wanted::Auto, Some(&hostname)).unwrap(), "api.local");
        assert_eq!(name(Wanted::Name("kubernetes".to_owned()), Some(&hostname)).unwrap(), "kubernetes");
        assert_eq!(name(Wanted::Name("fd00::1".to_owned()), None).unwrap(), "fd00::1");

        let bad = TlsCheck { ca: Ca::Insecure, server_name: Wanted::Name("a b".to_owned()) };
        assert!(matches!(load(&bad), Err(TlsError::ServerName { .. })));
    }
}
