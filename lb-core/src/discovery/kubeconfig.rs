use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A kubeconfig's current context, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The name in apiservers' certificates; `None`: the address that is dialled.
    pub server_name: Option<String>,
    /// Whom to trust; `None`: nothing is verified.
    pub authority: Option<Material>,
    /// Who we are.
    pub credentials: Credentials,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A client certificate and its key.
    Certificate {
        /// The certificates, PEM.
        certificate: Material,
        /// The private key, PEM.
        key: Material,
    },
    /// A bearer token.
    Token(Material),
    /// Nobody: the cluster may let anonymous requests through.
    Anonymous,
}

/// Something that is in the kubeconfig itself, or in a file that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// The text itself.
    Inline(String),
    /// The same in base64.
    Encoded(String),
    /// A file, read anew for each connection: kubelets' certificates are replaced.
    File(PathBuf),
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// It is not YAML of that shape.
    #[error("read it as a kubeconfig: {0}")]
    Shape(#[from] serde_yaml::Error),
    /// A name in it leads nowhere.
    #[error("it names the {what} {name:?} and has none")]
    Dangling {
        /// `context`, `cluster` or `user`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It has credentials of a kind that needs another program.
    #[error(
        "its user {user:?} has credentials from {kind}, which lbctl does not run; hint: use the kubelet's kubeconfig"
    )]
    Foreign {
        /// The user.
        user: String,
        /// The kind.
        kind: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<Named<RawContext>>,
    #[serde(default)]
    clusters: Vec<Named<RawCluster>>,
    #[serde(default)]
    users: Vec<Named<RawUser>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct RawContext {
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawCluster {
    server: String,
    #[serde(default)]
    tls_server_name: Option<String>,
    #[serde(default)]
    certificate_authority: Option<PathBuf>,
    #[serde(default)]
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default, rename = "client-certificate")]
    certificate: Option<PathBuf>,
    #[serde(default, rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(default, rename = "client-key")]
    key: Option<PathBuf>,
    #[serde(default, rename = "client-key-data")]
    key_data: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default)]
    exec: Option<serde_yaml::Value>,
    #[serde(default, rename = "auth-provider")]
    auth_provider: Option<serde_yaml::Value>,
}

impl Kubeconfig {
    /// Reads the current context. `folder` is the kubeconfig's own: paths in it are relative to that.
    ///
    /// # Errors
    /// When it is none, or its credentials are of a kind that we have no way to use.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, KubeconfigError> {
        let raw: Raw = serde_yaml::from_str(text)?;
        let context = find(&raw.contexts, "context", &raw.current_context)?;
        let cluster = find(&raw.clusters, "cluster", &context.cluster)?;
        let user = find(&raw.users, "user", &context.user)?;
        let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
            _ if cluster.insecure_skip_tls_verify => None,
            (Some(data), _) => Some(Material::Encoded(data.clone())),
            (None, Some(path)) => Some(Material::File(folder.join(path))),
            (None, None) => None,
        };
        let server_name = cluster.tls_server_name.clone().or_else(|| dns_name_of(&cluster.server));
        Ok(Self { server_name, authority, credentials: user.credentials(&context.user, folder)? })
    }
}

impl RawUser {
    fn credentials(&self, name: &str, folder: &Path) -> Result<Credentials, KubeconfigError> {
        let foreign = |kind| KubeconfigError::Foreign { user: name.to_owned(), kind };
        let material = |data: &Option<String>, path: &Option<PathBuf>| match (data, path) {
            (Some(data), _) => Some(Material::Encoded(data.clone())),
            (None, Some(path)) => Some(Material::File(folder.join(path))),
            (None, None) => None,
        };
        let certificate = material(&self.certificate_data, &self.certificate);
        let key = material(&self.key_data, &self.key);
        if let (Some(certificate), Some(key)) = (certificate, key) {
            return Ok(Credentials::Certificate { certificate, key });
        }
        match (&self.token_file, &self.token) {
            (Some(path), _) => Ok(Credentials::Token(Material::File(folder.join(path)))),
            (None, Some(token)) => Ok(Credentials::Token(Material::Inline(token.clone()))),
            (None, None) if self.exec.is_some() => Err(foreign("a program (exec)")),
            (None, None) if self.auth_provider.is_some() => Err(foreign("an auth-provider")),
            (None, None) => Ok(Credentials::Anonymous),
        }
    }
}

fn find<'a, T>(all: &'a [Named<T>], what: &'static str, name: &str) -> Result<&'a T, KubeconfigError> {
    let found = all.iter().find(|named| named.name == name).map(|named| &named.value);
    found.ok_or_else(|| KubeconfigError::Dangling { what, name: name.to_owned() })
}

/// The host of `https://host:port`, unless it is an address: another master has another one.
fn dns_name_of(server: &str) -> Option<String> {
    let rest = server.strip_prefix("https://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    (!is_address && !host.is_empty()).then(|| host.to_owned())
}
