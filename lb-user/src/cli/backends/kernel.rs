//! What can be said about the backends when no agent runs: from the kernel's state and the config.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
};

use lb_core::{
    config::ServiceConfig,
    control::Pair,
    model::{Admin, DataplaneKind, Dataplanes, Health, Source},
    view::{BackendView, BackendsView, ConnectionsView, ProbeView, ServiceView},
};

use crate::dataplane::{Counters, Held, HeldService};

/// Why nobody knows a backend's health.
const REASON: &str = "no agent is running";

/// Every service that the kernel or the config names.
pub(super) fn view(configured: &[ServiceConfig], kernel: &Held) -> BackendsView {
    let Held { services, counters } = kernel;
    let config_of = |vip: &SocketAddr| configured.iter().find(|service| service.vip == *vip);
    let held = services.iter().filter_map(|(vip, held)| held_service(*vip, held, config_of(vip), counters));
    let absent = configured.iter().filter(|service| !services.contains_key(&service.vip));
    let mut services: Vec<_> = held.chain(absent.map(absent_service)).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    BackendsView { services }
}

fn held_service(
    vip: SocketAddr,
    (dataplanes, held): &(Dataplanes, HeldService),
    config: Option<&ServiceConfig>,
    counters: &BTreeMap<Pair, Counters>,
) -> Option<ServiceView> {
    let configured = config.map_or(&[][..], |config| &config.backends);
    let is_configured = |address: &SocketAddr| configured.iter().any(|backend| backend.address == *address);
    let mut backends: Vec<_> = configured.iter().map(|b| bare(b.address, Source::Config, b.weight)).collect();
    // Without a config nobody can tell what was added at run time.
    let source = if config.is_some() { Source::Runtime } else { Source::Config };
    let others = held.members.iter().filter(|address| !is_configured(address));
    backends.extend(others.map(|address| bare(*address, source, 1)));
    for backend in &mut backends {
        if let Some(weight) = held.weights.get(&backend.address) {
            backend.serving = true;
            backend.weight = u16::try_from(*weight).unwrap_or(u16::MAX);
        }
        if let Some(Counters { active, total, refused }) = counters.get(&(vip, backend.address)).copied() {
            backend.connections = ConnectionsView { active, total, refused };
        }
    }
    // A dataplane without a place for names knows its services by their VIP.
    let unnamed = || format!("vip-{}", vip.ip().to_string().replace(['.', ':'], "-")).parse().ok();
    Some(ServiceView {
        name: held.name.clone().or_else(|| config.map(|config| config.name.clone())).or_else(unnamed)?,
        vip,
        hostname: config.and_then(|config| config.hostname.clone()),
        dataplane: dataplanes.first(),
        dataplanes: dataplanes.kinds().to_vec(),
        policy: held.policy,
        backends,
    })
}

fn absent_service(config: &ServiceConfig) -> ServiceView {
    let reason = Some(format!("{REASON}, and the kernel does not know the service"));
    let absent = |b: &lb_core::config::BackendConfig| BackendView {
        reason: reason.clone(),
        ..bare(b.address, Source::Config, b.weight)
    };
    ServiceView {
        name: config.name.clone(),
        vip: config.vip,
        hostname: config.hostname.clone(),
        dataplane: DataplaneKind::Socket,
        dataplanes: vec![DataplaneKind::Socket],
        policy: config.policy,
        backends: config.backends.iter().map(absent).collect(),
    }
}

fn bare(address: SocketAddr, source: Source, weight: u16) -> BackendView {
    BackendView {
        address,
        source,
        admin: Admin::Active,
        health: Health::Unknown,
        serving: false,
        reason: Some(REASON.to_owned()),
        since: None,
        weight,
        local: is_local(address),
        connections: ConnectionsView::default(),
        probe: ProbeView::default(),
    }
}

/// Whether an address is one of this node's own: only those can be bound.
fn is_local(address: SocketAddr) -> bool {
    UdpSocket::bind((address.ip(), 0)).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use lb_core::{
        config::{self, Overrides},
        model::Policy,
    };

    use super::*;
    const FILE: &str = "services:
- {name: web, vip: 10.0.0.1:80, backends: [192.0.2.8:80]}
- name: apiserver
  vip: 10.103.97.2:6443
  hostname: apiserver.cluster.local
  backends: [192.0.2.3:6443, {address: '127.0.0.1:6443', weight: 2}]
";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn held() -> Held {
        let weights = [(addr("127.0.0.1:6443"), 5), (addr("192.0.2.9:6443"), 1)].into();
        let service = HeldService {
            name: Some("apiserver".parse().unwrap()),
            policy: Policy::RoundRobin,
            weights,
            members: ["127.0.0.1:6443", "192.0.2.3:6443", "192.0.2.9:6443"].map(addr).into(),
        };
        let vip = addr("10.103.97.2:6443");
        let counted = Counters { active: 1, total: 2, refused: 3 };
        Held {
            services: [(vip, (DataplaneKind::Socket.into(), service))].into(),
            counters: [((vip, addr("192.0.2.9:6443")), counted)].into(),
        }
    }

    fn rows(service: &ServiceView) -> Vec<(String, Source, bool, u16, bool)> {
        let row = |b: &BackendView| (b.address.to_string(), b.source, b.serving, b.weight, b.local);
        service.backends.iter().map(row).collect()
    }

    #[test]
    fn the_config_gives_names_and_order_and_the_kernel_says_who_serves() {
        let configured = config::load(Some(("x", FILE)), &Overrides::default()).unwrap().services;
        let view = view(&configured, &held());
        let names: Vec<_> = view.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["apiserver", "web"]);
        let [apiserver, web] = view.services.as_slice() else { unreachable!() };
        assert_eq!(apiserver.hostname.as_ref().unwrap().as_str(), "apiserver.cluster.local");
        assert_eq!(
            apiserver.policy,
            Policy::RoundRobin,
            "what the kernel does counts, not what it should do"
        );
        assert_eq!(
            rows(apiserver),
            [
                ("192.0.2.3:6443".to_owned(), Source::Config, false, 1, false),
                ("127.0.0.1:6443".to_owned(), Source::Config, true, 5, true),
                ("192.0.2.9:6443".to_owned(), Source::Runtime, true, 1, false),
            ]
        );
        let connections = apiserver.backends[2].connections;
        assert_eq!((connections.active, connections.total, connections.refused), (1, 2, 3));
        assert!(apiserver.backends.iter().all(|b| b.health == Health::Unknown && b.since.is_none()));
        assert_eq!(rows(web), [("192.0.2.8:80".to_owned(), Source::Config, false, 1, false)]);
        assert!(web.backends[0].reason.as_ref().unwrap().contains("does not know the service"));
    }

    #[test]
    fn without_a_config_every_member_of_the_kernel_is_shown() {
        let view = view(&[], &held());
        assert_eq!(view.services.len(), 1);
        assert_eq!(view.services[0].backends.len(), 3);
        assert!(view.services[0].backends.iter().all(|backend| backend.source == Source::Config));
    }
}
