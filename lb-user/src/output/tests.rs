#![allow(clippy::unwrap_used)]

use lb_core::{
    model::{Admin, DataplaneKind, Health, Policy, Scope, Source},
    view::*,
};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-01-02T05:15:09Z")
}

fn up() -> BackendView {
    BackendView {
        address: "192.168.0.2:6443".parse().unwrap(),
        source: Source::Config,
        admin: Admin::Active,
        health: Health::Up,
        serving: true,
        reason: None,
        since: Some(at("2026-01-02T03:04:05Z")),
        weight: 1,
        local: false,
        connections: ConnectionsView { active: 3, total: 120, refused: 0 },
        probe: ProbeView { latency_ms: Some(0.8), failures: 0 },
    }
}

fn dead() -> BackendView {
    BackendView {
        address: "192.168.0.3:6443".parse().unwrap(),
        health: Health::Dead,
        serving: false,
        reason: Some("connect: connection refused".to_owned()),
        since: Some(at("2026-01-02T05:15:05Z")),
        connections: ConnectionsView { active: 0, total: 40, refused: 2 },
        probe: ProbeView { latency_ms: Some(0.7), failures: 3 },
        ..up()
    }
}

fn service(backends: Vec<BackendView>) -> ServiceView {
    ServiceView {
        name: "apiserver".parse().unwrap(),
        vip: "10.103.97.2:6443".parse().unwrap(),
        hostname: Some("apiserver.cluster.local".parse().unwrap()),
        dataplane: DataplaneKind::Socket,
        dataplanes: vec![DataplaneKind::Socket],
        policy: Policy::RoundRobin,
        backends,
    }
}

fn two() -> BackendsView {
    BackendsView { services: vec![service(vec![up(), dead()])] }
}

fn whole() -> StatusView {
    let transition = |at_: &str, to, reason: &str| TransitionView {
        at: at(at_),
        service: "apiserver".parse().unwrap(),
        address: "192.168.0.3:6443".parse().unwrap(),
        from: Health::Up,
        to,
        reason: Some(reason.to_owned()),
    };
    StatusView {
        agent: AgentView {
            version: "0.1.0".to_owned(),
            pid: 4242,
            started: at("2026-01-02T03:04:00Z"),
            config: Some("/etc/lbctl/config.yaml".into()),
            config_loaded: at("2026-01-02T03:04:00Z"),
            config_error: Some(
                "config.yaml:3:5: services[0].vip: no port\nconfig.yaml:9:1: x: unknown field".to_owned(),
            ),
        },
        dataplane: DataplaneView {
            kind: DataplaneKind::Socket,
            kinds: vec![DataplaneKind::Socket],
            why: "the first that this host supports".to_owned(),
            scope: Scope::Host,
            effective: true,
            error: None,
            facts: vec![("cgroup".to_owned(), "/sys/fs/cgroup".to_owned())],
        },
        hosts: HostsView { path: "/etc/hosts".into(), manage: true, in_place: true, error: None },
        services: two().services,
        transitions: vec![
            transition("2026-01-02T05:15:04.75Z", Health::Dead, "connect: connection refused"),
            transition("2026-01-02T05:00:00Z", Health::Up, "serves again"),
        ],
        warnings: vec!["services[0].health.ca: backends are not verified".to_owned()],
    }
}

fn table(view: &BackendsView) -> String {
    backends(view, Format::Table, Style::PLAIN, now()).unwrap()
}

#[test]
fn the_table_is_the_one_of_the_specification() {
    assert_eq!(
        table(&two()),
        "\
SERVICE    VIP               BACKEND           ADMIN   HEALTH  SERVING  WEIGHT  CONNS  PROBE   SINCE
apiserver  10.103.97.2:6443  192.168.0.2:6443  active  up      yes      1       3      0.8ms   2h11m
apiserver  10.103.97.2:6443  192.168.0.3:6443  active  dead    no       1       0      -       4s     connect: connection refused
"
    );
}

#[test]
fn the_wide_table_has_every_column_and_the_reason_stays_last() {
    assert_eq!(
        backends(&two(), Format::Wide, Style::PLAIN, now()).unwrap(),
        "\
SERVICE    VIP               BACKEND           ADMIN   HEALTH  SERVING  WEIGHT  CONNS  PROBE   SINCE  SOURCE  LOCAL  TOTAL  REFUSED  POLICY       FAILURES
apiserver  10.103.97.2:6443  192.168.0.2:6443  active  up      yes      1       3      0.8ms   2h11m  config  no     120    0        round-robin  0
apiserver  10.103.97.2:6443  192.168.0.3:6443  active  dead    no       1       0      -       4s     config  no     40     2        round-robin  3         connect: connection refused
"
    );
}

#[test]
fn a_service_without_backends_is_not_left_out() {
    let view = BackendsView { services: vec![service(vec![])] };
    assert_eq!(table(&view).lines().nth(1), Some("apiserver  10.103.97.2:6443  none"));
}

#[test]
fn what_nobody_knows_is_a_dash() {
    let unknown = BackendView { health: Health::Unknown, since: None, probe: ProbeView::default(), ..up() };
    let text = table(&BackendsView { services: vec![service(vec![unknown])] });
    assert!(text.ends_with("unknown  yes      1       3      -       -\n"), "{text}");
}

#[test]
fn colours_change_no_column() {
    let coloured = backends(&two(), Format::Table, Style { colour: true }, now()).unwrap();
    assert!(coloured.contains("\x1b[32mup\x1b[0m      yes"), "{coloured:?}");
    assert!(coloured.contains("\x1b[31mdead\x1b[0m    no"), "{coloured:?}");
    let stripped =
        ["\x1b[31m", "\x1b[32m", "\x1b[0m"].iter().fold(coloured, |text, sgr| text.replace(sgr, ""));
    assert_eq!(stripped, table(&two()));
}

#[test]
fn a_backend_cannot_send_escape_sequences_to_the_terminal() {
    let rude = BackendView { reason: Some("not HTTP: \x1b]0;title\x07\n".to_owned()), ..dead() };
    let text = table(&BackendsView { services: vec![service(vec![rude])] });
    assert!(text.ends_with("not HTTP: \\u{1b}]0;title\\u{7}\\n\n"), "{text:?}");
}

#[test]
fn json_is_the_one_of_the_specification() {
    let view = BackendsView { services: vec![service(vec![up()])] };
    let text = backends(&view, Format::Json, Style { colour: true }, now()).unwrap();
    let mut wanted: serde_json::Value = serde_json::from_str(
        r#"{"services":[{"name":"apiserver","vip":"10.103.97.2:6443","hostname":"apiserver.cluster.local","dataplane":"socket",
  "backends":[{"address":"192.168.0.2:6443","source":"config","admin":"active","health":"up","serving":true,"reason":null,
    "since":"2026-01-02T03:04:05Z","weight":1,"local":false,
    "connections":{"active":3,"total":120,"refused":0},"probe":{"latencyMs":0.8,"failures":0}}]}]}"#,
    )
    .unwrap();
    wanted["services"][0]["policy"] = "round-robin".into();
    wanted["services"][0]["dataplanes"] = ["socket"].as_slice().into();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), wanted);
    assert!(text.starts_with("{\n  \"services\": [\n") && text.ends_with("}\n"), "{text}");
}

#[test]
fn yaml_has_the_keys_of_json() {
    let as_yaml = status(&whole(), Format::Yaml, Style::PLAIN, now()).unwrap();
    let as_json = status(&whole(), Format::Json, Style::PLAIN, now()).unwrap();
    assert_eq!(
        serde_yaml::from_str::<serde_json::Value>(&as_yaml).unwrap(),
        serde_json::from_str::<serde_json::Value>(&as_json).unwrap()
    );
    assert!(as_yaml.contains("configError:"), "{as_yaml}");
}

#[test]
fn status_is_one_screen() {
    assert_eq!(
        status(&whole(), Format::Table, Style::PLAIN, now()).unwrap(),
        "\
agent      lbctl 0.1.0, pid 4242, up 2h11m
config     /etc/lbctl/config.yaml, loaded 2h11m ago
           the one loaded stays in force: config.yaml:3:5: services[0].vip: no port
           config.yaml:9:1: x: unknown field
dataplane  socket, scope host, effective
           chosen: the first that this host supports
           cgroup: /sys/fs/cgroup
hosts      /etc/hosts, in place

SERVICE    VIP               BACKEND           ADMIN   HEALTH  SERVING  WEIGHT  CONNS  PROBE   SINCE
apiserver  10.103.97.2:6443  192.168.0.2:6443  active  up      yes      1       3      0.8ms   2h11m
apiserver  10.103.97.2:6443  192.168.0.3:6443  active  dead    no       1       0      -       4s     connect: connection refused

AGE    TIME                  SERVICE    BACKEND           CHANGE
4s     2026-01-02T05:15:04Z  apiserver  192.168.0.3:6443  up -> dead  connect: connection refused
15m9s  2026-01-02T05:00:00Z  apiserver  192.168.0.3:6443  up          serves again

warning    services[0].health.ca: backends are not verified
"
    );
}

#[test]
fn two_dataplanes_are_both_named_and_the_first_is_the_kind() {
    let mut view = whole();
    view.dataplane.kinds.push(DataplaneKind::Packet);
    let text = status(&view, Format::Table, Style::PLAIN, now()).unwrap();
    assert!(text.contains("\ndataplane  socket and packet, scope host, effective\n"), "{text}");
    let json = status(&view, Format::Json, Style::PLAIN, now()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["dataplane"]["kind"], "socket");
    assert_eq!(json["dataplane"]["kinds"], serde_json::json!(["socket", "packet"]));
}

#[test]
fn what_an_older_agent_says_of_its_dataplane_is_understood() {
    let mut json = serde_json::to_value(whole()).unwrap();
    json["dataplane"].as_object_mut().unwrap().remove("kinds");
    json["services"][0].as_object_mut().unwrap().remove("dataplanes");
    let view: StatusView = serde_json::from_value(json).unwrap();
    assert_eq!(view.dataplane.dataplanes(), DataplaneKind::Socket.into());
}

#[test]
fn status_says_in_red_what_is_broken() {
    let mut view = whole();
    view.dataplane.effective = false;
    view.dataplane.error = Some("a connect to the VIP was not redirected".to_owned());
    view.hosts.in_place = false;
    view.hosts.error = Some("read-only file system".to_owned());
    let text = status(&view, Format::Table, Style { colour: true }, now()).unwrap();
    for red in [
        "the one loaded stays in force: config.yaml:3:5: services[0].vip: no port",
        "config.yaml:9:1: x: unknown field",
        "socket, scope host, NOT effective",
        "a connect to the VIP was not redirected",
        "/etc/hosts, NOT in place",
        "read-only file system",
    ] {
        assert!(text.contains(&format!("\x1b[31m{red}\x1b[0m\n")), "{red}: {text:?}");
    }
}

#[test]
fn status_shows_ten_transitions_and_wide_shows_all() {
    let mut view = whole();
    view.transitions = vec![view.transitions[0].clone(); 12];
    let shown = |format| status(&view, format, Style::PLAIN, now()).unwrap().matches("up -> dead").count();
    assert_eq!(shown(Format::Table), 10);
    assert_eq!(shown(Format::Wide), 12);
}
