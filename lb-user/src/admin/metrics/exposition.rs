//! Prometheus' text format, version 0.0.4.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use lb_core::{
    model::{ConnectionState, Health},
    view::{BackendView, ServiceView, StatusView, connections::ConnectionTableView},
};

/// What scrapers expect with this format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const HEALTHS: [Health; 5] = [Health::Unknown, Health::Up, Health::Suspect, Health::NotReady, Health::Dead];

/// Every metric; those of connections only where there is a table of them.
pub(super) fn written(status: &StatusView, connections: Option<&ConnectionTableView>) -> String {
    let mut out = Exposition(String::new());
    agent(&mut out, status);
    states(&mut out, status);
    counters(&mut out, status);
    if let Some(table) = connections.filter(|table| table.capacity.is_some()) {
        packets(&mut out, table);
    }
    out.0
}

fn agent(out: &mut Exposition, status: &StatusView) {
    let agent = &status.agent;
    out.gauge("lbctl_build_info", "The agent's version; the value is always 1.");
    out.sample("lbctl_build_info", &[("version", &agent.version)], 1);
    out.gauge("lbctl_start_time_seconds", "When the agent started, in seconds since 1970.");
    out.sample("lbctl_start_time_seconds", &[], agent.started.as_second());
    out.gauge("lbctl_config_reload_success", "Whether the newest configuration is the one in force.");
    out.sample("lbctl_config_reload_success", &[], u8::from(agent.config_error.is_none()));
    out.gauge("lbctl_config_loaded_timestamp_seconds", "When the configuration in force was read.");
    out.sample("lbctl_config_loaded_timestamp_seconds", &[], agent.config_loaded.as_second());
    let dataplane = &status.dataplane;
    out.gauge("lbctl_dataplane_effective", "Whether the dataplane was proven to work.");
    for kind in dataplane.dataplanes().kinds() {
        let labels = [("dataplane", kind.as_str()), ("scope", dataplane.scope.as_str())];
        out.sample("lbctl_dataplane_effective", &labels, u8::from(dataplane.effective));
    }
    if status.hosts.manage {
        out.gauge("lbctl_hosts_in_place", "Whether the agent's block is in the hosts file.");
        out.sample("lbctl_hosts_in_place", &[], u8::from(status.hosts.in_place));
    }
    out.gauge("lbctl_warnings", "Warnings that `lbctl status` shows.");
    out.sample("lbctl_warnings", &[], status.warnings.len());
}

fn states(out: &mut Exposition, status: &StatusView) {
    let mut gauge = |name, help, value: fn(&BackendView) -> Option<f64>| {
        out.gauge(name, help);
        out.each(name, status, value);
    };
    gauge("lbctl_backend_up", "Whether the backend answers and is ready.", |b| {
        Some(truth(b.health == Health::Up))
    });
    gauge("lbctl_backend_serving", "Whether new connections may go to the backend.", |b| {
        Some(truth(b.serving))
    });
    gauge("lbctl_backend_weight", "The backend's share, relative to the others.", |b| {
        Some(f64::from(b.weight))
    });
    gauge(
        "lbctl_backend_health_since_timestamp_seconds",
        "Since when the backend has its health, in seconds since 1970.",
        |b| b.since.map(|since| since.as_second() as f64),
    );
    gauge("lbctl_probe_failures", "Failed probes in a row.", |b| Some(f64::from(b.probe.failures)));
    gauge("lbctl_probe_latency_seconds", "How long the last answered probe took.", |b| {
        b.probe.latency_ms.map(|ms| ms / 1000.0)
    });
    out.gauge("lbctl_backend_health", "1 for the health that the backend has, 0 for the others.");
    for (service, backend) in backends(status) {
        let address = backend.address.to_string();
        for health in HEALTHS {
            let labels =
                [("service", service.name.as_str()), ("backend", &address), ("health", health.as_str())];
            out.sample("lbctl_backend_health", &labels, truth(backend.health == health));
        }
    }
}

/// Above 2^53 a counter loses its last digits here as it would in Prometheus, whose values are 64-bit floats.
fn counters(out: &mut Exposition, status: &StatusView) {
    out.gauge("lbctl_backend_connections_active", "Connections established now.");
    out.each("lbctl_backend_connections_active", status, |b| Some(b.connections.active as f64));
    let mut counter = |name, help, value: fn(&BackendView) -> Option<f64>| {
        out.family(name, "counter", help);
        out.each(name, status, value);
    };
    counter("lbctl_backend_connections_total", "Connections sent to the backend.", |b| {
        Some(b.connections.total as f64)
    });
    counter("lbctl_backend_connections_refused_total", "Connections that the backend refused.", |b| {
        Some(b.connections.refused as f64)
    });
}

fn packets(out: &mut Exposition, table: &ConnectionTableView) {
    let name = "lbctl_packet_connections";
    out.gauge(name, "Connections that are translated packet by packet, by how far they are.");
    // One backend may be behind several VIPs of one service: what is rescued is counted under what it was meant for.
    let mut counts: BTreeMap<(String, String), BTreeMap<ConnectionState, u64>> = BTreeMap::new();
    for backend in &table.backends {
        let service = backend.service.as_ref().map(ToString::to_string).unwrap_or_default();
        let states = counts.entry((service, backend.backend.to_string())).or_default();
        backend.by_state().into_iter().for_each(|(state, count)| *states.entry(state).or_default() += count);
    }
    for ((service, backend), states) in &counts {
        for (state, count) in states {
            let labels = [("service", service.as_str()), ("backend", backend), ("state", state.as_str())];
            out.sample(name, &labels, count);
        }
    }
    out.family("lbctl_packet_dropped_total", "counter", "Packets for a VIP that were not let through.");
    for (reason, _, count) in table.dropped.by_reason() {
        out.sample("lbctl_packet_dropped_total", &[("reason", reason)], count);
    }
    let help = "Connections that were sent to another backend before they were answered.";
    out.family("lbctl_rescued_connections_total", "counter", help);
    out.sample("lbctl_rescued_connections_total", &[], table.counted.rescued);
}

fn truth(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn backends(status: &StatusView) -> impl Iterator<Item = (&ServiceView, &BackendView)> {
    status.services.iter().flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
}

struct Exposition(String);

impl Exposition {
    fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    /// Begins a family; its samples must follow before the next family begins.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample for each backend that has a value.
    fn each(&mut self, name: &str, status: &StatusView, value: fn(&BackendView) -> Option<f64>) {
        for (service, backend) in backends(status) {
            let address = backend.address.to_string();
            if let Some(value) = value(backend) {
                self.sample(name, &[("service", service.name.as_str()), ("backend", &address)], value);
            }
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let quoted = |(label, text): &(&str, &str)| format!("{label}=\"{}\"", escaped(text));
        let labels = labels.iter().map(quoted).collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label's value: backslash, quote and line feed are escaped, nothing else.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_as_the_format_wants() {
        let mut out = Exposition(String::new());
        out.sample("x", &[("a", "1\"2\\3\n4"), ("b", "é")], 0.0008);
        assert_eq!(out.0, "x{a=\"1\\\"2\\\\3\\n4\",b=\"é\"} 0.0008\n");
    }

    #[test]
    fn a_sample_without_labels_has_no_braces() {
        let mut out = Exposition(String::new());
        out.sample("x", &[], 1);
        assert_eq!(out.0, "x 1\n");
    }
}
