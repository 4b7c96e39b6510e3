//! The rules. Each function reads one part, adds what is wrong to the report and goes on, so that all errors of a
//! configuration are found in one pass; it gives `None` when it added something.

mod dataplane;
mod health;
mod packet;
mod paths;
mod request;
mod scalar;
mod service;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Config, HostsConfig, address::listen_address, error::ConfigError, path::FieldPath, problem::Problem,
    raw::RawConfig, sources::Sources,
};
use crate::model::Scope;

/// On the loopback only: who wants to scrape from elsewhere says so.
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// What is wrong so far.
struct Report<'a> {
    sources: &'a Sources,
    errors: &'a mut Vec<ConfigError>,
}

impl Report<'_> {
    fn add(&mut self, path: &FieldPath, problem: impl Into<Problem>) {
        self.errors.push(self.sources.error(path, problem.into()));
    }

    /// The value, or its problem into the report.
    fn ok<T, P: Into<Problem>>(&mut self, path: &FieldPath, result: Result<T, P>) -> Option<T> {
        result.map_err(|problem| self.add(path, problem)).ok()
    }
}

/// The configuration that the file and the flags describe. `None`, and at least one error more, when they are wrong.
pub(super) fn config(raw: &RawConfig, sources: &Sources, errors: &mut Vec<ConfigError>) -> Option<Config> {
    let report = &mut Report { sources, errors };
    let root = FieldPath::root();
    let dataplane = dataplane::choice(&raw.dataplane, &root.key("dataplane"), report);
    let rescue = scalar::on_off(&raw.rescue, true, &root.key("rescue"), report);
    let packet = packet::read(&raw.packet.clone().unwrap_or_default(), &root.key("packet"), report);
    let scope =
        scalar::choice(&raw.scope, Scope::ALL, Scope::as_str, Scope::Host, &root.key("scope"), report);
    let cgroup = paths::cgroup(&raw.cgroup, &root.key("cgroup"), report);
    let bpffs = paths::bpffs(&raw.bpffs, &root.key("bpffs"), report);
    let state_dir = paths::absolute(&raw.state_dir, "/var/lib/lbctl", &root.key("stateDir"), report);
    let raw_hosts = raw.hosts.clone().unwrap_or_default();
    let hosts_path = paths::absolute(&raw_hosts.path, "/etc/hosts", &root.key("hosts").key("path"), report);
    let raw_socket = raw.admin.as_ref().and_then(|admin| admin.socket.clone());
    let admin_socket = paths::socket(&raw_socket, &root.key("admin").key("socket"), report);
    let raw_listen = raw.metrics.as_ref().and_then(|metrics| metrics.listen.as_deref());
    let metrics = listen(raw_listen, &root.key("metrics").key("listen"), report);
    let services = service::services(raw.services.as_deref().unwrap_or_default(), report);
    Some(Config {
        dataplane: dataplane?,
        rescue: rescue?,
        packet: packet?,
        scope: scope?,
        cgroup: cgroup?,
        bpffs: bpffs?,
        state_dir: state_dir?,
        hosts: HostsConfig { path: hosts_path?, manage: raw_hosts.manage.unwrap_or(true) },
        admin_socket: admin_socket?,
        metrics: metrics?,
        services: services?,
    })
}

fn listen(raw: Option<&str>, path: &FieldPath, report: &mut Report<'_>) -> Option<Option<SocketAddr>> {
    match raw {
        None => Some(Some(DEFAULT_METRICS)),
        Some("off") => Some(None),
        Some(text) => report.ok(path, listen_address(text)).map(Some),
    }
}
