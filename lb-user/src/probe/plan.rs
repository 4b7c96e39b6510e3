use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, HOST, USER_AGENT},
};
use http_body_util::Full;
use hyper::body::Bytes;
use lb_core::{
    model::Hostname,
    probe::{CheckKind, HttpCheck, ProbeTarget},
};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{
    patience::Patience,
    tls::{TlsSettings, server_name},
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("lbctl/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// A [`ProbeTarget`] with all worked out that is the same for each probe.
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) timeout: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) patience: Patience,
    pub(super) check: Check,
}

pub(super) enum Check {
    Tcp,
    Http(Box<HttpPlan>),
    /// It cannot be made, and why.
    Impossible(String),
}

pub(super) struct HttpPlan {
    pub(super) question: Question,
    pub(super) expect: Vec<u16>,
    pub(super) tls: Option<Tls>,
}

/// How connections are secured.
pub(super) struct Tls {
    /// Of requests, over HTTP/1.1.
    pub(super) requests: TlsConnector,
    /// Of PINGs, over HTTP/2.
    pub(super) pings: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// The request that every probe of one backend makes.
pub(super) struct Question {
    method: Method,
    /// Path and query.
    origin: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Plan {
    pub(super) fn new(target: ProbeTarget, tls: Option<TlsSettings>) -> Self {
        let address = target.address();
        let host = target.hostname.as_ref();
        let check = match target.kind {
            CheckKind::Tcp => Check::Tcp,
            CheckKind::Http(check) => Check::http(check, address, host, None),
            CheckKind::Https(check, trust) => {
                match (tls, server_name(&trust.server_name, host, address.ip())) {
                    (Some(tls), Ok(name)) => {
                        let tls = Tls { requests: tls.requests(), pings: tls.pings(), name };
                        Check::http(check, address, host, Some(tls))
                    }
                    (None, _) => Check::Impossible("an https check without TLS settings".to_owned()),
                    (Some(_), Err(error)) => Check::Impossible(error.to_string()),
                }
            }
        };
        let ProbeTarget { timeout, heartbeat, patience, .. } = target;
        Self { address, timeout, heartbeat, patience: Patience::new(patience, timeout), check }
    }
}

impl Plan {
    pub(super) fn has_tls(&self) -> bool {
        matches!(&self.check, Check::Http(http) if http.tls.is_some())
    }
}

impl Check {
    fn http(check: HttpCheck, address: SocketAddr, host: Option<&Hostname>, tls: Option<Tls>) -> Self {
        let usual = if tls.is_some() { 443 } else { 80 };
        let authority = match host {
            Some(name) => with_port(name, address.port(), usual),
            None => match address.ip() {
                IpAddr::V4(ip) => with_port(ip, address.port(), usual),
                IpAddr::V6(ip) => with_port(format_args!("[{ip}]"), address.port(), usual),
            },
        };
        match Question::new(&check, &authority) {
            Ok(question) => Self::Http(Box::new(HttpPlan { question, expect: check.expect, tls })),
            Err(error) => Self::Impossible(format!("{} {:?}: {error}", check.method, check.path)),
        }
    }
}

/// The Host header leaves out the scheme's own port (RFC 9110, 7.2).
fn with_port(host: impl Display, port: u16, usual: u16) -> String {
    if port == usual { host.to_string() } else { format!("{host}:{port}") }
}

impl Question {
    fn new(check: &HttpCheck, authority: &str) -> Result<Self, http::Error> {
        let path = check.path.as_str();
        Ok(Self {
            method: Method::from_bytes(check.method.as_bytes())?,
            origin: Uri::builder().path_and_query(path).build()?,
            headers: headers(check, HeaderValue::from_str(authority)?)?,
            body: Bytes::from(check.body.clone()),
        })
    }

    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.origin.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Those of every probe; what the check says of the same name takes their place.
fn headers(check: &HttpCheck, host: HeaderValue) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::from_iter([(HOST, host), (USER_AGENT, AGENT), (ACCEPT, ANYTHING)]);
    for (name, _) in &check.headers {
        headers.remove(name);
    }
    for (name, value) in &check.headers {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use lb_core::{
        model::BackendKey,
        probe::{Ca, TlsCheck},
    };

    use super::*;

    fn plan(address: &str, hostname: Option<&str>, kind: CheckKind) -> Plan {
        let key = BackendKey { service: "s".parse().unwrap(), address: address.parse().unwrap() };
        let hostname = hostname.map(|name| name.parse().unwrap());
        let timeout = Duration::from_secs(1);
        Plan::new(ProbeTarget { key, kind, hostname, timeout, heartbeat: None, patience: timeout }, None)
    }

    fn get(path: &str) -> HttpCheck {
        HttpCheck::get(path, [200])
    }

    #[test]
    fn the_host_header_is_the_hostname_or_the_address() {
        for (address, hostname, host) in [
            ("10.0.0.1:6443", Some("api.local"), "api.local:6443"),
            ("10.0.0.1:80", Some("api.local"), "api.local"),
            ("10.0.0.1:6443", None, "10.0.0.1:6443"),
            ("[fd00::1]:6443", None, "[fd00::1]:6443"),
            ("[fe80::1%2]:80", None, "[fe80::1]"),
        ] {
            let Check::Http(http) = plan(address, hostname, CheckKind::Http(get("/readyz?verbose"))).check
            else {
                panic!("{address}")
            };
            let request = http.question.request();
            assert_eq!(request.headers()[HOST], host);
            assert_eq!(request.uri(), "/readyz?verbose");
        }
    }

    #[test]
    fn a_path_that_is_none_makes_the_check_impossible() {
        let plan = plan("10.0.0.1:1", None, CheckKind::Http(get("/a b")));
        assert!(matches!(plan.check, Check::Impossible(_)));
    }

    #[test]
    fn an_https_check_without_tls_settings_is_impossible() {
        let trust = TlsCheck { ca: Ca::Insecure, server_name: lb_core::probe::ServerName::Auto };
        let plan = plan("10.0.0.1:1", None, CheckKind::Https(get("/"), trust));
        assert!(matches!(plan.check, Check::Impossible(_)));
    }
}
