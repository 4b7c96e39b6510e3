use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lb_core::discovery::{Credentials, Kubeconfig, KubeconfigError, Material};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

use crate::probe::tls::{self, TlsError};

/// The longest file that is read, in bytes: a kubelet's kubeconfig or certificate has some 3 KiB.
const FILE_MAX: u64 = 1 << 20;

/// Who asks, and whom it trusts. Read anew for each connection: a kubelet's certificate is replaced every few months.
pub(super) struct Identity {
    pub(super) tls: Arc<ClientConfig>,
    /// The name in apiservers' certificates; `None`: the address that is dialled.
    pub(super) server_name: Option<String>,
    pub(super) token: Option<String>,
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is no kubeconfig, or one that we have no way to use.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// Something in it is not base64.
    #[error("its {what} is not base64")]
    Encoding {
        /// What.
        what: &'static str,
        /// The cause.
        source: base64::DecodeError,
    },
    /// A certificate or key is not PEM.
    #[error("its {what} is not PEM")]
    Pem {
        /// What.
        what: &'static str,
        /// The cause.
        source: pem::Error,
    },
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] TlsError),
    /// The certificate and the key do not fit each other, or are of a kind that nobody has.
    #[error("use its client certificate")]
    Certificate(#[source] rustls::Error),
}

impl Identity {
    pub(super) fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = read(path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let Kubeconfig { server_name, authority, credentials } =
            Kubeconfig::parse(&String::from_utf8_lossy(&text), folder)?;
        let authority = authority.map(|material| bytes(&material, "certificate authority")).transpose()?;
        let roots = authority.map(|pem| tls::roots_of(&pem, path)).transpose()?;
        let builder = tls::trusting(roots)?;
        let (config, token) = match credentials {
            Credentials::Anonymous => (builder.with_no_client_auth(), None),
            Credentials::Token(material) => {
                let token = String::from_utf8_lossy(&bytes(&material, "token")?).trim().to_owned();
                (builder.with_no_client_auth(), Some(token))
            }
            Credentials::Certificate { certificate, key } => {
                let chain = chain(&bytes(&certificate, "client certificate")?)?;
                let key = PrivateKeyDer::from_pem_slice(&bytes(&key, "client key")?)
                    .map_err(|source| IdentityError::Pem { what: "client key", source })?;
                let config = builder.with_client_auth_cert(chain, key).map_err(IdentityError::Certificate)?;
                (config, None)
            }
        };
        Ok(Self { tls: Arc::new(config), server_name, token })
    }
}

fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>();
    certificates.map_err(|source| IdentityError::Pem { what: "client certificate", source })
}

fn bytes(material: &Material, what: &'static str) -> Result<Vec<u8>, IdentityError> {
    match material {
        Material::Inline(text) => Ok(text.clone().into_bytes()),
        Material::Encoded(text) => {
            let text: String = text.split_whitespace().collect();
            STANDARD.decode(text).map_err(|source| IdentityError::Encoding { what, source })
        }
        Material::File(path) => read(path),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text));
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    match read.map_err(failed)? as u64 {
        length if length > FILE_MAX => Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {FILE_MAX} bytes"),
        ))),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(dir: &Path, user: &str) -> PathBuf {
        let path = dir.join("kubelet.conf");
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://a.b:6443'}}}}]\nusers: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn told(result: Result<Identity, IdentityError>) -> String {
        let error = result.err().expect("an error");
        crate::agent::chain(&error)
    }

    #[test]
    fn a_certificate_and_its_key_may_be_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        std::fs::write(dir.path().join("both.pem"), certificate.pem() + &key.serialize_pem()).unwrap();
        let path = kubeconfig(dir.path(), "{client-certificate: both.pem, client-key: both.pem}");
        let identity = Identity::load(&path).unwrap();
        assert_eq!((identity.server_name.as_deref(), identity.token), (Some("a.b"), None));
    }

    #[test]
    fn a_token_is_read_from_its_file_without_the_line_feed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t"), "secret\n").unwrap();
        let identity = Identity::load(&kubeconfig(dir.path(), "{tokenFile: t}")).unwrap();
        assert_eq!(identity.token.as_deref(), Some("secret"));
    }

    #[test]
    fn what_cannot_be_used_says_which_part_and_why() {
        let dir = tempfile::tempdir().unwrap();
        assert!(told(Identity::load(&dir.path().join("none"))).contains("none: No such file"));
        let certificate = "client-certificate-data: QUFB, client-key-data: QUFB";
        assert!(
            told(Identity::load(&kubeconfig(dir.path(), &format!("{{{certificate}}}"))))
                .contains("client key")
        );
        let bad = kubeconfig(dir.path(), "{client-certificate-data: '!', client-key-data: QUFB}");
        assert!(told(Identity::load(&bad)).contains("client certificate is not base64"));
    }
}
