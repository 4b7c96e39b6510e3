//! The query of `GET /v1/connections`, in both directions: pure.

use lb_core::view::connections::{ConnectionFilter, MAX_ROWS};

use super::route::{RouteError, decoded, encoded};

/// `service=apiserver&backend=192.168.0.2:6443&limit=100`, each of them at will.
pub(super) fn filter(query: Option<&str>) -> Result<ConnectionFilter, RouteError> {
    let mut filter = ConnectionFilter::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        let bad = |what| RouteError::BadQuery { pair: pair.to_owned(), what };
        match key {
            "service" => filter.service = Some(value.parse().map_err(|_| bad("a service name"))?),
            "backend" => filter.backend = Some(value.parse().map_err(|_| bad("an address and port"))?),
            "limit" => filter.limit = value.parse().map_err(|_| bad("a number"))?,
            _ => return Err(bad("one of service, backend and limit")),
        }
    }
    Ok(filter)
}

/// The path and query that ask for these.
pub(super) fn path(filter: &ConnectionFilter) -> String {
    let ConnectionFilter { service, backend, limit } = filter;
    let service = service.as_ref().map(|name| format!("&service={}", encoded(name.as_str())));
    let backend = backend.map(|address| format!("&backend={}", encoded(&address.to_string())));
    let limit = limit.min(&MAX_ROWS);
    format!("/v1/connections?limit={limit}{}{}", service.unwrap_or_default(), backend.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        for wanted in [
            ConnectionFilter::default(),
            ConnectionFilter::COUNTS,
            ConnectionFilter {
                service: Some("apiserver".parse().unwrap()),
                backend: Some("[fd00::2]:6443".parse().unwrap()),
                limit: 7,
            },
        ] {
            let path = path(&wanted);
            assert_eq!(filter(path.strip_prefix("/v1/connections?")), Ok(wanted), "{path}");
        }
        assert_eq!(filter(None), Ok(ConnectionFilter::default()));
        assert_eq!(filter(Some("&&")), Ok(ConnectionFilter::default()));
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_would() {
        for (query, wanted) in [
            ("service=A", "\"service=A\" in the query is not a service name"),
            ("backend=1.2.3.4", "\"backend=1.2.3.4\" in the query is not an address and port"),
            ("limit=-1", "\"limit=-1\" in the query is not a number"),
            ("limit", "\"limit\" in the query is not a number"),
            ("vip=x", "\"vip=x\" in the query is not one of service, backend and limit"),
            ("service=%zz", "\"%zz\" in the path is no percent-encoded UTF-8"),
        ] {
            assert_eq!(filter(Some(query)).unwrap_err().to_string(), wanted);
        }
    }
}
