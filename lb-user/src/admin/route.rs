//! From a method and a path to what is meant: pure.

use std::net::SocketAddr;

use hyper::Method;
use lb_core::model::ServiceName;

/// What a request to the admin API means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Status,
    Backends,
    Connections,
    Events,
    Healthz,
    Readyz,
    Backend { service: Option<ServiceName>, address: SocketAddr, action: Action },
}

/// What is to be done to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Add,
    Change,
    Remove,
}

/// Why a request means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    #[error("there is no {path:?}")]
    NoSuchPath { path: String },
    #[error("{method} is not possible here")]
    WrongMethod { method: Method, allow: &'static str },
    #[error("{segment:?} in the path is no {what}")]
    BadSegment { segment: String, what: &'static str },
    #[error("{pair:?} in the query is not {what}")]
    BadQuery { pair: String, what: &'static str },
}

/// The service that stands for "the only one": no service can have this name (RFC 1123).
pub(super) const ONLY_SERVICE: &str = "-";

pub(super) fn route(method: &Method, path: &str) -> Result<Route, RouteError> {
    let route = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["v1", "status"] => Route::Status,
        ["v1", "backends"] => Route::Backends,
        ["v1", "connections"] => Route::Connections,
        ["v1", "events"] => Route::Events,
        ["healthz"] => Route::Healthz,
        ["readyz"] => Route::Readyz,
        ["v1", "services", service, "backends", address] => return backend(method, service, address),
        _ => return Err(RouteError::NoSuchPath { path: path.to_owned() }),
    };
    read_only(method)?;
    Ok(route)
}

/// Refuses everything but reading.
pub(super) fn read_only(method: &Method) -> Result<(), RouteError> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    Err(RouteError::WrongMethod { method: method.clone(), allow: "GET, HEAD" })
}

fn backend(method: &Method, service: &str, address: &str) -> Result<Route, RouteError> {
    let action = match method.as_str() {
        "PUT" => Action::Add,
        "PATCH" => Action::Change,
        "DELETE" => Action::Remove,
        _ => {
            return Err(RouteError::WrongMethod { method: method.clone(), allow: "PATCH, PUT, DELETE" });
        }
    };
    let service = match decoded(service)?.as_str() {
        ONLY_SERVICE => None,
        name => Some(name.parse().map_err(|_| bad(name, "service name"))?),
    };
    let address = decoded(address)?;
    let address = address.parse().map_err(|_| bad(&address, "address and port"))?;
    Ok(Route::Backend { service, address, action })
}

fn bad(segment: &str, what: &'static str) -> RouteError {
    RouteError::BadSegment { segment: segment.to_owned(), what }
}

/// Undoes percent-encoding (RFC 3986, section 2.1) in one segment of a path.
pub(super) fn decoded(segment: &str) -> Result<String, RouteError> {
    let not_encoded = || bad(segment, "percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or_else(not_encoded)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| not_encoded())?);
    }
    String::from_utf8(bytes).map_err(|_| not_encoded())
}

/// Percent-encodes one segment of a path: all but the unreserved characters of RFC 3986 and the colon, which a
/// segment may hold as it is.
pub(super) fn encoded(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    segment.bytes().map(encode).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_route_has_its_path_and_methods() {
        let named = |address: &str, action| Route::Backend {
            service: Some("apiserver".parse().unwrap()),
            address: address.parse().unwrap(),
            action,
        };
        let v4 = "/v1/services/apiserver/backends/192.168.0.2:6443";
        for (method, path, wanted) in [
            (Method::GET, "/v1/status", Route::Status),
            (Method::HEAD, "/v1/backends", Route::Backends),
            (Method::GET, "/v1/connections", Route::Connections),
            (Method::GET, "/v1/events", Route::Events),
            (Method::GET, "/healthz", Route::Healthz),
            (Method::GET, "/readyz", Route::Readyz),
            (Method::PUT, v4, named("192.168.0.2:6443", Action::Add)),
            (Method::PATCH, v4, named("192.168.0.2:6443", Action::Change)),
            (Method::DELETE, v4, named("192.168.0.2:6443", Action::Remove)),
            (
                Method::PATCH,
                "/v1/services/apiserver/backends/[fd00::2]:6443",
                named("[fd00::2]:6443", Action::Change),
            ),
            (
                Method::PATCH,
                "/v1/services/apiserver/backends/%5bfd00%3A%3A2%5D:6443",
                named("[fd00::2]:6443", Action::Change),
            ),
        ] {
            assert_eq!(route(&method, path), Ok(wanted), "{method} {path}");
        }
        let only = route(&Method::DELETE, "/v1/services/-/backends/1.2.3.4:5").unwrap();
        assert!(matches!(only, Route::Backend { service: None, .. }));
    }

    #[test]
    fn paths_that_do_not_exist_are_not_guessed() {
        for path in [
            "/",
            "",
            "/v1",
            "/v1/status/",
            "/v1//status",
            "/v2/status",
            "/v1/services/a/backends",
            "/V1/status",
        ] {
            let wanted = RouteError::NoSuchPath { path: path.to_owned() };
            assert_eq!(route(&Method::GET, path), Err(wanted));
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        for (method, path, allowed) in [
            (Method::POST, "/v1/status", "GET, HEAD"),
            (Method::DELETE, "/readyz", "GET, HEAD"),
            (Method::GET, "/v1/services/-/backends/1.2.3.4:5", "PATCH, PUT, DELETE"),
        ] {
            let error = route(&method, path).unwrap_err();
            assert!(matches!(error, RouteError::WrongMethod { allow, .. } if allow == allowed), "{error}");
        }
    }

    #[test]
    fn bad_segments_are_quoted() {
        for (segments, bad) in [
            ("UPPER/backends/1.2.3.4:5", "\"UPPER\" in the path is no service name"),
            ("a/backends/1.2.3.4", "\"1.2.3.4\" in the path is no address and port"),
            ("a/backends/%5", "\"%5\" in the path is no percent-encoded UTF-8"),
            ("a/backends/%zz", "\"%zz\" in the path is no percent-encoded UTF-8"),
            ("a/backends/%ff", "\"%ff\" in the path is no percent-encoded UTF-8"),
            ("%00/backends/1.2.3.4:5", "\"\\0\" in the path is no service name"),
        ] {
            let error = route(&Method::PATCH, &format!("/v1/services/{segments}")).unwrap_err();
            assert_eq!(error.to_string(), bad);
        }
    }

    proptest! {
        #[test]
        fn encoding_can_be_undone(text in "\\PC{0,40}") {
            let segment = encoded(&text);
            prop_assert!(segment.is_ascii() && !segment.contains(['/', '?', '#', '[', ' ']));
            prop_assert_eq!(decoded(&segment).unwrap(), text);
        }

        #[test]
        fn no_path_makes_the_router_panic(path in "[/%a-z0-9:\\[\\].é-]{0,60}") {
            let _ = route(&Method::PATCH, &path);
            let _ = route(&Method::PATCH, &format!("/v1/services/{path}/backends/{path}"));
        }
    }
}
