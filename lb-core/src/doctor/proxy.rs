//! Whether requests for a VIP go to it, or to a proxy.

use std::net::IpAddr;

use super::{Code, Facts, Finding, ProxyFact, Severity, cidr::Cidr};
use crate::config::ServiceConfig;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(config) = facts.config() else { return Vec::new() };
    if facts.proxies.is_empty() {
        return vec![Finding::ok(Code::Proxy, "no proxy is set")];
    }
    facts.proxies.iter().map(|proxy| one(proxy, &config.services)).collect()
}

fn one(fact: &ProxyFact, services: &[ServiceConfig]) -> Finding {
    let ProxyFact { source, component, proxy, no_proxy } = fact;
    let mut missing: Vec<String> = Vec::new();
    for service in services {
        let ip = service.vip.ip();
        missing.extend((!covers_address(no_proxy, ip)).then(|| ip.to_string()));
        let name = service.hostname.as_ref().map(|name| name.as_str());
        missing.extend(name.filter(|name| !covers_name(no_proxy, name)).map(str::to_owned));
    }
    if missing.is_empty() {
        return Finding::ok(Code::Proxy, format!("{source}: NO_PROXY has the VIP and the hostname"));
    }
    missing.dedup();
    let severity = if *component { Severity::Fail } else { Severity::Warn };
    let proxy = without_password(proxy);
    let message = format!("{source}: sends requests to {proxy}, and NO_PROXY lacks {}", missing.join(", "));
    let remedy =
        format!("add {} to NO_PROXY and no_proxy there, and restart what reads it", missing.join(","));
    Finding::bad(severity, Code::Proxy, message, remedy)
}

/// What is before an `@` in a proxy's URL is a secret.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    }
}

/// As Go's httpproxy and curl read it: entries are separated by commas, curl takes spaces too.
fn entries(no_proxy: &str) -> impl Iterator<Item = &str> {
    no_proxy.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty())
}

/// An address is covered by itself, or by a range. With a port it is only covered there; that is a port of a VIP hardly
/// ever.
fn covers_address(no_proxy: &str, address: IpAddr) -> bool {
    entries(no_proxy).any(|entry| {
        let bare = entry.trim_start_matches('[').trim_end_matches(']');
        entry == "*"
            || bare.parse() == Ok(address)
            || entry.parse::<Cidr>().is_ok_and(|cidr| cidr.contains(address))
    })
}

/// A name is covered by itself and by each domain above it, written with or without a leading dot.
fn covers_name(no_proxy: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    entries(no_proxy).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (entry, domain) = match entry.trim_start_matches('*').strip_prefix('.') {
            Some(domain) => (None, domain.to_owned()),
            None => (Some(entry.clone()), entry),
        };
        entry.as_deref() == Some("*")
            || entry.as_deref() == Some(name.as_str())
            || name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_covered_by_itself_and_by_the_domains_above_it() {
        for (no_proxy, covered) in [
            ("apiserver.cluster.local", true),
            ("localhost, APISERVER.cluster.local", true),
            (".cluster.local", true),
            ("cluster.local", true),
            ("*.cluster.local", true),
            ("*", true),
            ("", false),
            ("server.cluster.local", false),
            (".apiserver.cluster.local", false),
            ("apiserver", false),
        ] {
            assert_eq!(covers_name(no_proxy, "apiserver.cluster.local"), covered, "{no_proxy}");
        }
    }

    #[test]
    fn an_address_is_covered_by_itself_and_by_a_range() {
        for (no_proxy, covered) in [
            ("10.103.97.2", true),
            ("127.0.0.1,10.96.0.0/12", true),
            ("*", true),
            ("10.103.97.0/33", false),
            ("10.103.97.20", false),
            ("", false),
        ] {
            assert_eq!(covers_address(no_proxy, IpAddr::from([10, 103, 97, 2])), covered, "{no_proxy}");
        }
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        assert_eq!(without_password("http://me:secret@proxy:3128"), "http://proxy:3128");
        assert_eq!(without_password("me:secret@proxy:3128"), "proxy:3128");
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
    }
}
