//! Who asks, as kube-apiserver finds out: a client certificate is asked for and never refused in the handshake; one that is not
//! accepted has each request answered with 401.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::tls;

/// Whose certificates are accepted: those of one authority.
#[derive(Clone, Debug)]
pub(super) struct Clients(Arc<dyn ClientCertVerifier>);

/// What a request's sender may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Known by a certificate, or nobody was asked for one.
    Known,
    /// Showed no certificate.
    Anonymous,
    /// Showed one that has expired, or that somebody else signed.
    Refused,
}

impl Clients {
    pub(super) fn new(ca: &Path) -> anyhow::Result<Self> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(tls::trusting(ca)?),
            Arc::new(ring::default_provider()),
        );
        let verifier = verifier.allow_unauthenticated().build();
        Ok(Self(verifier.with_context(|| format!("accept clients of {}", ca.display()))?))
    }

    /// The sender of what comes over a connection on which these certificates were shown.
    pub(super) fn caller(&self, shown: Option<&[CertificateDer<'_>]>) -> Caller {
        match shown {
            None | Some([]) => Caller::Anonymous,
            Some([own, others @ ..]) => {
                let verified = self.0.verify_client_cert(own, others, UnixTime::now());
                if verified.is_ok() { Caller::Known } else { Caller::Refused }
            }
        }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    /// Any: [`Clients::caller`] judges it, so that the answer is one of HTTP.
    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
