//! TLS settings of the stand-in and of the lab's client.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A server's configuration from PEM files, offering HTTP/2 and HTTP/1.1; `clients` says whose certificates it takes.
///
/// # Errors
/// A file that cannot be read or does not hold what it should.
pub fn server_config(
    cert: &Path,
    key: &Path,
    clients: Arc<dyn ClientCertVerifier>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read the key {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .with_context(|| format!("use the certificate {}", cert.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's configuration that trusts the CA certificates in `ca` and offers HTTP/1.1 alone.
///
/// # Errors
/// A file that cannot be read or does not hold certificates.
pub fn client_config(ca: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .with_root_certificates(trusting(ca)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would skip the certificate check and much of the work that a new client has.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whoever the authorities in this file vouch for is trusted.
///
/// # Errors
/// A file that cannot be read or does not hold certificates.
pub fn trusting(ca: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("trust {}", ca.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("read certificates from {}", file.display()))
}
