use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT},
    uri::Scheme,
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
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The request that every probe of one backend makes.
pub(super) struct Question {
    method: Method,
    /// Path and query, as HTTP/1.1 wants it.
    origin: Uri,
    /// With scheme and authority, as HTTP/2 wants it.
    absolute: Uri,
    host: HeaderValue,
    /// All but the Host header.
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
                    (Some(tls), Ok(name)) => Check::http(check, address, host, Some((tls.connector(), name))),
                    (None, _) => Check::Impossible("an https check without TLS settings".to_owned()),
                    (Some(_), Err(error)) => Check::Impossible(error.to_string()),
                }
            }
        };
        let ProbeTarget { timeout, heartbeat, patience, .. } = target;
        Self { address, timeout, heartbeat, patience: Patience::new(patience, timeout), check }
    }
}

impl Check {
    fn http(
        check: HttpCheck,
        address: SocketAddr,
        host: Option<&Hostname>,
        tls: Option<(TlsConnector, ServerName<'static>)>,
    ) -> Self {
        let (scheme, usual) = if tls.is_some() { (Scheme::HTTPS, 443) } else { (Scheme::HTTP, 80) };
        let authority = match host {
            Some(name) => with_port(name, address.port(), usual),
            None => match address.ip() {
                IpAddr::V4(ip) => with_port(ip, address.port(), usual),
                IpAddr::V6(ip) => with_port(format_args!("[{ip}]"), address.port(), usual),
            },
        };
        match Question::new(&check, scheme, &authority) {
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
    fn new(check: &HttpCheck, scheme: Scheme, authority: &str) -> Result<Self, http::Error> {
        let path = check.path.as_str();
        Ok(Self {
            method: Method::from_bytes(check.method.as_bytes())?,
            origin: Uri::builder().path_and_query(path).build()?,
            absolute: Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?,
            host: HeaderValue::from_str(authority)?,
            headers: headers(check)?,
            body: Bytes::from(check.body.clone()),
        })
    }

    pub(super) fn http1(&self) -> Request<Full<Bytes>> {
        let mut request = self.ask(&self.origin, Full::new(self.body.clone()));
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }

    /// The head, and the body to send after it.
    pub(super) fn http2(&self) -> (Request<()>, Bytes) {
        let mut request = self.ask(&self.absolute, ());
        if !self.body.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, self.body.len().into());
        }
        (request, self.body.clone())
    }

    fn ask<B>(&self, uri: &Uri, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Those of every probe; what the check says of the same name takes their place.
fn headers(check: &HttpCheck) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::from_iter([(USER_AGENT, AGENT), (ACCEPT, ANYTHING)]);
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
            assert_eq!(http.question.host, host);
            assert_eq!(http.question.http1().uri(), "/readyz?verbose");
            assert_eq!(http.question.http2().0.uri().to_string(), format!("http://{host}/readyz?verbose"));
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
