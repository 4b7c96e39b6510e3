use std::{collections::HashMap, hash::Hash, net::SocketAddr, num::NonZeroU32, time::Duration};

use super::{FieldPath, Problem, Report, health, paths, scalar};
use crate::{
    config::{
        BackendConfig, KUBELETS_KUBECONFIG, KubernetesDiscovery, ServiceConfig,
        address::host_address,
        raw::{Number, RawBackend, RawKubernetes, RawRebalance, RawService},
    },
    model::{Hostname, MAX_BACKENDS, MAX_SERVICES, OnAllDown, OnDown, Policy, Prefer, ServiceName},
};

/// More a minute than this is no pace.
const MAX_PER_MINUTE: u32 = 600;

/// 5,000 nodes ask three masters 56 times a second each.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);

/// What is right of a service, each part on its own.
struct Parts {
    path: FieldPath,
    name: Option<ServiceName>,
    vip: Option<SocketAddr>,
    hostname: Option<Option<Hostname>>,
    /// By their place in the list.
    backends: Vec<(FieldPath, Option<BackendConfig>)>,
}

/// Reads `services:`.
pub(super) fn services(raw: &[RawService], report: &mut Report<'_>) -> Option<Vec<ServiceConfig>> {
    let list = FieldPath::root().key("services");
    if raw.is_empty() {
        report.add(&list, Problem::NoServices);
        return None;
    }
    if raw.len() > MAX_SERVICES {
        let problem = Problem::TooMany { what: "services", count: raw.len(), limit: MAX_SERVICES };
        report.add(&list, problem);
        return None;
    }
    let parts: Vec<_> =
        raw.iter().enumerate().map(|(i, raw)| read_parts(raw, list.index(i), report)).collect();
    let before = report.errors.len();
    unique_names(&parts, report);
    unique_vips(&parts, report);
    unique_hostnames(&parts, report);
    backends_fit(&parts, report);
    let unique = report.errors.len() == before;
    // Every service is read to its end, so that all errors are found.
    let whole: Vec<_> = raw.iter().zip(parts).map(|(raw, parts)| read_rest(raw, parts, report)).collect();
    whole.into_iter().collect::<Option<Vec<_>>>().filter(|_| unique)
}

fn read_parts(raw: &RawService, path: FieldPath, report: &mut Report<'_>) -> Parts {
    let name = match &raw.name {
        Some(text) => report.ok(&path.key("name"), text.parse::<ServiceName>()),
        None => {
            report.add(&path.key("name"), Problem::Missing { example: "apiserver" });
            None
        }
    };
    let vip = match &raw.vip {
        Some(text) => report.ok(&path.key("vip"), host_address(text)),
        None => {
            report.add(&path.key("vip"), Problem::Missing { example: "10.103.97.2:6443" });
            None
        }
    };
    let hostname = match &raw.hostname {
        Some(text) => report.ok(&path.key("hostname"), hostname(text)).map(Some),
        None => Some(None),
    };
    let backends = read_backends(raw.backends.as_deref().unwrap_or_default(), &path.key("backends"), report);
    Parts { path, name, vip, hostname, backends }
}

/// What of a service concerns no other one.
fn read_rest(raw: &RawService, parts: Parts, report: &mut Report<'_>) -> Option<ServiceConfig> {
    let path = &parts.path;
    let policy =
        scalar::choice(&raw.policy, Policy::ALL, Policy::as_str, Policy::Random, &path.key("policy"), report);
    let prefer =
        scalar::choice(&raw.prefer, Prefer::ALL, Prefer::as_str, Prefer::None, &path.key("prefer"), report);
    let on_down =
        scalar::choice(&raw.on_down, OnDown::ALL, OnDown::as_str, OnDown::Reset, &path.key("onDown"), report);
    let all_down = &path.key("onAllDown");
    let on_all_down = scalar::choice(
        &raw.on_all_down,
        OnAllDown::ALL,
        OnAllDown::as_str,
        OnAllDown::Auto,
        all_down,
        report,
    );
    let slow_start = match &raw.slow_start {
        Some(text) => scalar::duration_or_off(text, &path.key("slowStart"), report),
        None => Some(None),
    };
    let rebalance = match &raw.rebalance {
        Some(raw) => read_rebalance(raw, &path.key("rebalance"), report),
        None => Some(None),
    };
    let discovery = match raw.discovery.as_ref().and_then(|discovery| discovery.kubernetes.as_ref()) {
        Some(raw) => read_kubernetes(raw, &path.key("discovery").key("kubernetes"), report).map(Some),
        None => Some(None),
    };
    let raw_health = raw.health.clone().unwrap_or_default();
    let health = health::check(&raw_health, &raw.dead_after, path, report);
    let backends = parts.backends.into_iter().map(|(_, backend)| backend).collect::<Option<Vec<_>>>();
    Some(ServiceConfig {
        name: parts.name?,
        vip: parts.vip?,
        hostname: parts.hostname?,
        policy: policy?,
        prefer: prefer?,
        backends: backends.filter(|backends| !backends.is_empty())?,
        discovery: discovery?,
        slow_start: slow_start?,
        rebalance: rebalance?,
        health: health?,
        on_down: on_down?,
        on_all_down: on_all_down?,
    })
}

fn read_backends(
    raw: &[RawBackend],
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Vec<(FieldPath, Option<BackendConfig>)> {
    if raw.is_empty() {
        report.add(path, Problem::NoBackends);
    }
    if raw.len() > MAX_BACKENDS {
        let problem = Problem::TooMany { what: "backends", count: raw.len(), limit: MAX_BACKENDS };
        report.add(path, problem);
        return Vec::new();
    }
    let mut backends = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = path.index(index);
        let backend = match raw {
            RawBackend::Address(text) => report.ok(&path, host_address(text)).map(unweighted),
            RawBackend::Full(full) => {
                let address_at = path.key("address");
                let address = match &full.address {
                    Some(text) => report.ok(&address_at, host_address(text)),
                    None => {
                        report.add(&address_at, Problem::Missing { example: "192.168.0.2:6443" });
                        None
                    }
                };
                let weight = read_weight(full.weight, &path.key("weight"), report);
                address.zip(weight).map(|(address, weight)| BackendConfig { address, weight })
            }
        };
        backends.push((path, backend));
    }
    backends
}

fn unweighted(address: SocketAddr) -> BackendConfig {
    BackendConfig { address, weight: 1 }
}

/// Without a number it stays off.
fn read_rebalance(
    raw: &RawRebalance,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Option<NonZeroU32>> {
    let per_minute = scalar::number(raw.per_minute, (0, MAX_PER_MINUTE), 0, &path.key("perMinute"), report);
    per_minute.map(NonZeroU32::new)
}

fn read_kubernetes(
    raw: &RawKubernetes,
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<KubernetesDiscovery> {
    let kubeconfig = paths::absolute(&raw.kubeconfig, KUBELETS_KUBECONFIG, &path.key("kubeconfig"), report);
    let interval = match &raw.interval {
        Some(text) => scalar::duration(text, &path.key("interval"), report),
        None => Some(DISCOVERY_INTERVAL),
    };
    Some(KubernetesDiscovery { kubeconfig: kubeconfig?, interval: interval? })
}

fn read_weight(raw: Option<Number>, path: &FieldPath, report: &mut Report<'_>) -> Option<u16> {
    let weight = scalar::number(raw, (0, u16::MAX.into()), 1, path, report)?;
    u16::try_from(weight).ok()
}

fn hostname(text: &str) -> Result<Hostname, Problem> {
    let name: Hostname = text.parse()?;
    if ends_in_number(text) {
        return Err(Problem::NumericHostname { text: text.to_owned() });
    }
    if text == "localhost" {
        return Err(Problem::LocalHostname { text: text.to_owned() });
    }
    Ok(name)
}

/// Whether a name's last label is a number: resolvers then take it for an IPv4 address (RFC 1123 section 2.1).
pub(super) fn ends_in_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

/// Reports every value that an earlier one has already taken.
fn unique<T: Eq + Hash>(values: impl Iterator<Item = (FieldPath, T, String)>, report: &mut Report<'_>) {
    let mut seen: HashMap<T, FieldPath> = HashMap::new();
    for (path, key, value) in values {
        if let Some(first) = seen.get(&key) {
            let first = report.sources.name(first);
            report.add(&path, Problem::Taken { value, first });
        } else {
            seen.insert(key, path);
        }
    }
}

fn unique_names(services: &[Parts], report: &mut Report<'_>) {
    let names = services.iter().filter_map(|s| {
        let name = s.name.clone()?;
        let shown = name.to_string();
        Some((s.path.key("name"), name, shown))
    });
    unique(names, report);
}

fn unique_vips(services: &[Parts], report: &mut Report<'_>) {
    let vips = services.iter().filter_map(|s| Some((s.path.key("vip"), s.vip?, s.vip?.to_string())));
    unique(vips, report);
}

/// One name may have an IPv4 and an IPv6 address in the hosts file, but not two of a kind: only the first would count.
fn unique_hostnames(services: &[Parts], report: &mut Report<'_>) {
    let names = services.iter().filter_map(|s| {
        let hostname = s.hostname.clone()??;
        let shown = hostname.to_string();
        Some((s.path.key("hostname"), (hostname, s.vip?.is_ipv4()), shown))
    });
    unique(names, report);
}

/// Reports the backends that are a VIP, of another family than theirs, or listed before.
fn backends_fit(services: &[Parts], report: &mut Report<'_>) {
    let vips: HashMap<SocketAddr, &Parts> = services.iter().filter_map(|s| Some((s.vip?, s))).collect();
    for service in services {
        let backends = || service.backends.iter().filter_map(|(path, b)| Some((path, (*b)?.address)));
        unique(backends().map(|(path, address)| (path.clone(), address, address.to_string())), report);
        for (path, address) in backends() {
            if let Some(owner) = vips.get(&address) {
                let service = owner.path.to_string();
                report.add(path, Problem::BackendIsVip { address: address.to_string(), service });
            }
            if let Some(vip) = service.vip.filter(|vip| vip.is_ipv4() != address.is_ipv4()) {
                let (backend, vip) = (address.to_string(), vip.to_string());
                report.add(path, Problem::MixedFamilies { backend, vip });
            }
        }
    }
}
