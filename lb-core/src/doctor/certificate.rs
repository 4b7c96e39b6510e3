//! The backends: whether they answer, what their certificates say, and what time it is there.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::{BackendFact, CertificateFact, Code, Facts, Finding, Origin};
use crate::config::ServiceConfig;

/// kubeadm renews certificates at an upgrade, and lets them last a year: a month is time to act.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A `Date` has whole seconds, and its answer was some time on the way.
const SKEW_SEEN: SignedDuration = SignedDuration::from_secs(5);
/// Kubernetes' signer dates certificates back by this (pkg/controller/certificates/signer): with more between two
/// clocks, a fresh certificate is not valid yet.
const SKEW_MOST: SignedDuration = SignedDuration::from_secs(300);

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = backends(&facts.backends);
    for certificate in &facts.certificates {
        findings.extend(names(facts, certificate));
        findings.push(expiry(certificate, facts.now));
    }
    findings.extend(skew(&facts.backends));
    findings
}

fn backends(backends: &[BackendFact]) -> Vec<Finding> {
    let down = backends.iter().filter(|backend| backend.answer.is_err()).count();
    let finding = |BackendFact { address, answer }: &BackendFact| match answer {
        Ok(_) => Finding::ok(Code::Backend, format!("{address} answers")),
        Err(why) if down == backends.len() => Finding::fail(
            Code::Backend,
            format!("{address} does not answer, nor does any other backend: {why}"),
            "see that the address is right, the apiserver runs, and nothing on the way drops packets",
        ),
        Err(why) => Finding::warn(
            Code::Backend,
            format!("{address} does not answer: {why}"),
            "see that the address is right, the apiserver runs, and nothing on the way drops packets",
        ),
    };
    backends.iter().map(finding).collect()
}

/// What clients dial must be in the certificate: the hostname where there is one, else the VIP.
fn names(facts: &Facts, certificate: &CertificateFact) -> Vec<Finding> {
    let services = facts.config().into_iter().flat_map(|config| &config.services);
    services
        .filter(|service| concerns(facts, certificate, service))
        .map(|service| one(certificate, service))
        .collect()
}

/// A file is this node's own apiserver's.
fn concerns(facts: &Facts, certificate: &CertificateFact, service: &ServiceConfig) -> bool {
    match &certificate.origin {
        Origin::Backend(address) => facts.backends_of(service).contains(address),
        Origin::File(_) => true,
    }
}

fn one(certificate: &CertificateFact, service: &ServiceConfig) -> Finding {
    let (origin, ip) = (&certificate.origin, service.vip.ip());
    let hostname = service.hostname.as_ref().map(|name| name.as_str());
    let lacks_name = hostname.is_some_and(|name| !carries_name(certificate, name));
    let lacks_vip = !carries_address(certificate, ip);
    let renew = |names: &str| {
        format!(
            "add {names} to apiServer.certSANs of the ClusterConfiguration, then on each master: rm \
             /etc/kubernetes/pki/apiserver.{{crt,key}} && kubeadm init phase certs apiserver --config FILE"
        )
    };
    match (hostname, lacks_name, lacks_vip) {
        (Some(name), true, true) => Finding::fail(
            Code::CertNames,
            format!("{origin} has neither {name} nor {ip}"),
            renew(&format!("{name} and {ip}")),
        ),
        (Some(name), true, false) => {
            Finding::fail(Code::CertNames, format!("{origin} does not have the name {name}"), renew(name))
        }
        (Some(name), false, true) => Finding::warn(
            Code::CertNames,
            format!("{origin} does not have the address {ip}: only clients that use {name} can verify it"),
            renew(&ip.to_string()),
        ),
        (None, _, true) => Finding::fail(
            Code::CertNames,
            format!("{origin} does not have the address {ip}, and there is no hostname"),
            renew(&ip.to_string()),
        ),
        (Some(name), false, false) => Finding::ok(Code::CertNames, format!("{origin} has {name} and {ip}")),
        (None, _, false) => Finding::ok(Code::CertNames, format!("{origin} has {ip}")),
    }
}

/// RFC 6125, 6.4.3: a `*` stands for the whole leftmost label.
fn carries_name(certificate: &CertificateFact, name: &str) -> bool {
    certificate.names.iter().any(|pattern| match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(parent), Some((_, rest))) => parent.eq_ignore_ascii_case(rest),
        (Some(_), None) => false,
        (None, _) => pattern.eq_ignore_ascii_case(name),
    })
}

fn carries_address(certificate: &CertificateFact, address: IpAddr) -> bool {
    certificate.addresses.contains(&address)
}

fn expiry(certificate: &CertificateFact, now: Timestamp) -> Finding {
    let CertificateFact { origin, not_before, not_after, .. } = certificate;
    let remedy = "kubeadm certs renew apiserver on that master, then restart its apiserver";
    if now < *not_before {
        return Finding::fail(
            Code::CertExpiry,
            format!("{origin} is not valid before {not_before}"),
            "compare the clocks of this node and of the masters",
        );
    }
    let left = not_after.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Finding::fail(
            Code::CertExpiry,
            format!("{origin} has been invalid since {not_after}"),
            remedy,
        );
    }
    let days = left.as_hours() / 24;
    let message = format!("{origin} is valid until {not_after}, {days} days from now");
    if left < SOON {
        Finding::warn(Code::CertExpiry, message, remedy)
    } else {
        Finding::ok(Code::CertExpiry, message)
    }
}

fn skew(backends: &[BackendFact]) -> Vec<Finding> {
    let finding = |backend: &BackendFact| {
        let (ours, theirs) = backend.answer.as_ref().ok()?.clocks?;
        let ahead = ours.duration_since(theirs);
        let seconds = ahead.as_secs().unsigned_abs();
        let address = backend.address;
        if ahead.abs() < SKEW_SEEN {
            return Some(Finding::ok(
                Code::ClockSkew,
                format!("as the clock of {address}, to a few seconds"),
            ));
        }
        let side = if ahead.is_positive() { "ahead of" } else { "behind" };
        let message = format!("this node's clock is {seconds} s {side} that of {address}");
        let remedy = "have all nodes keep time by NTP: chronyc tracking, timedatectl timesync-status";
        Some(match ahead.abs() > SKEW_MOST {
            true => Finding::fail(Code::ClockSkew, message, remedy),
            false => Finding::warn(Code::ClockSkew, message, remedy),
        })
    };
    backends.iter().filter_map(finding).collect()
}
