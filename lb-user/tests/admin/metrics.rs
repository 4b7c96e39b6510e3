use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lb_core::{
    model::{DataplaneKind, Health},
    view::StatusView,
};
use lb_user::admin::{Agent, Limits, MetricsError, MetricsServer};

use crate::fake::{Loop, body, channels, code, scrape, transition};

fn agent(change: fn(&mut StatusView)) -> (Agent, Loop) {
    let (agent, agent_loop) = channels(Arc::new(|status: &mut StatusView| {
        status.services[0].backends[0].connections.total = 120;
    }));
    agent_loop.snapshots.send_modify(|snapshot| change(Arc::make_mut(&mut snapshot.status)));
    (agent, agent_loop)
}

/// Sample lines by name and labels; asserts what the format demands of the whole.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let mut families = BTreeSet::new();
    let mut current = "";
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            current = family.split(' ').next().unwrap();
            assert!(families.insert(current), "{current} comes twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(current), "outside its family: {line}");
            let fresh = found.insert(series, value.parse().unwrap()).is_none();
            assert!(fresh, "{series} comes twice");
        }
    }
    assert!(text.ends_with('\n'));
    found
}

#[tokio::test]
async fn metrics_follow_the_snapshot_and_the_kernel() {
    let (agent, _loop) = agent(|status| {
        let dead = &mut status.services[0].backends[1];
        (dead.health, dead.serving, dead.probe.latency_ms, dead.probe.failures) =
            (Health::Dead, false, None, 3);
        status.agent.config_error = Some("bad".to_owned());
    });
    let answer = scrape(agent, "GET", "/metrics").await;
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    let found = samples(body(&answer));
    let good = r#"service="apiserver",backend="192.168.0.2:6443""#;
    let dead = r#"service="apiserver",backend="[fd00::2]:6443""#;
    for (series, value) in [
        (format!("lbctl_backend_up{{{good}}}"), 1.0),
        (format!("lbctl_backend_up{{{dead}}}"), 0.0),
        (format!("lbctl_backend_serving{{{dead}}}"), 0.0),
        (format!("lbctl_backend_health{{{dead},health=\"dead\"}}"), 1.0),
        (format!("lbctl_backend_health{{{dead},health=\"up\"}}"), 0.0),
        (format!("lbctl_backend_health{{{good},health=\"notReady\"}}"), 0.0),
        (format!("lbctl_backend_connections_active{{{good}}}"), 0.0),
        (format!("lbctl_backend_connections_total{{{good}}}"), 120.0),
        (format!("lbctl_backend_connections_refused_total{{{good}}}"), 0.0),
        (format!("lbctl_probe_latency_seconds{{{good}}}"), 0.0008),
        (format!("lbctl_probe_failures{{{dead}}}"), 3.0),
        ("lbctl_config_reload_success".to_owned(), 0.0),
        (format!("lbctl_packet_connections{{{dead},state=\"open\"}}"), 2.0),
        (format!("lbctl_packet_connections{{{dead},state=\"reset\"}}"), 0.0),
        (r#"lbctl_packet_connections{service="",backend="[fd00::2]:6443",state="open"}"#.to_owned(), 1.0),
        ("lbctl_packet_dropped_total{reason=\"full\"}".to_owned(), 5.0),
        ("lbctl_packet_dropped_total{reason=\"displaced\"}".to_owned(), 0.0),
        ("lbctl_rescued_connections_total".to_owned(), 1.0),
        ("lbctl_build_info{version=\"0.1.0\"}".to_owned(), 1.0),
        ("lbctl_dataplane_effective{dataplane=\"socket\",scope=\"host\"}".to_owned(), 1.0),
        ("lbctl_start_time_seconds".to_owned(), 1_767_323_045.0),
    ] {
        assert_eq!(found.get(series.as_str()), Some(&value), "{series}\n{}", body(&answer));
    }
    let never_answered = format!("lbctl_probe_latency_seconds{{{dead}}}");
    assert!(!found.contains_key(never_answered.as_str()));
}

#[tokio::test]
async fn two_dataplanes_have_a_sample_each_and_without_a_table_there_are_no_packets() {
    let (agent, _loop) = agent(|status| status.dataplane.kinds.push(DataplaneKind::Packet));
    let no_table = agent.listing(Arc::new(|_, _| Ok(Default::default())));
    let answer = scrape(no_table, "GET", "/metrics").await;
    let found = samples(body(&answer));
    for kind in ["socket", "packet"] {
        let series = format!("lbctl_dataplane_effective{{dataplane=\"{kind}\",scope=\"host\"}}");
        assert_eq!(found.get(series.as_str()), Some(&1.0), "{series}");
    }
    assert!(!answer.contains("lbctl_packet_") && !answer.contains("lbctl_rescued_"), "{answer}");
}

#[tokio::test]
async fn the_page_escapes_what_it_shows_and_loads_nothing() {
    let (agent, _loop) = agent(|status| {
        status.services[0].backends[0].reason = Some("not HTTP: <script>alert(1)</script>".to_owned());
        status.transitions.push(transition());
        status.warnings.push("a <b> c".to_owned());
    });
    let answer = scrape(agent, "GET", "/").await;
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    let page = body(&answer);
    assert!(page.contains("not HTTP: &lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains("a &lt;b&gt; c"), "{page}");
    assert!(page.contains("<meta http-equiv=\"refresh\" content=\"5\">"), "{page}");
    for forbidden in ["<script", "src=", "href=", "http://", "https://", "url("] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
}

#[tokio::test]
async fn healthz_and_readyz_answer_here_too() {
    let (agent, _loop) = agent(|status| status.services[0].backends.clear());
    assert_eq!(code(&scrape(agent.clone(), "GET", "/healthz").await), 200);
    let answer = scrape(agent, "GET", "/readyz").await;
    assert_eq!((code(&answer), body(&answer)), (503, "service apiserver has no serving backend\n"));
}

#[tokio::test]
async fn the_listener_changes_nothing_and_knows_no_other_path() {
    let (agent, mut agent_loop) = agent(|_| {});
    for (method, path, status) in [
        ("POST", "/metrics", 405),
        ("PATCH", "/v1/services/-/backends/192.168.0.2:6443", 405),
        ("GET", "/v1/status", 404),
        ("GET", "/../etc/passwd", 404),
    ] {
        assert_eq!(code(&scrape(agent.clone(), method, path).await), status, "{method} {path}");
    }
    assert!(agent_loop.operators.try_recv().is_err());
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let (agent, _loop) = agent(|_| {});
    let answer = scrape(agent, "HEAD", "/metrics").await;
    assert_eq!((code(&answer), body(&answer)), (200, ""));
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (agent, _loop) = agent(|_| {});
    let error = MetricsServer::bind(address, agent, Limits::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, MetricsError::Listen { .. }));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
