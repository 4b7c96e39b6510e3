use super::*;
use crate::{
    config::{DEFAULT_SERVICE, Problem},
    model::{DataplaneKind, Dataplanes, Policy, Scope},
    probe::{CheckKind, HttpCheck},
};

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn one_service() -> Overrides {
    Overrides {
        vip: some("10.103.97.2:6443"),
        backends: vec!["192.168.0.2:6443".to_owned(), "192.168.0.3:6443".to_owned()],
        ..Overrides::default()
    }
}

/// What people see about flags on top of a file, or without one.
fn flag_complaints(file: Option<&str>, flags: &Overrides) -> String {
    load(file.map(|text| ("lb.yaml", text)), flags).unwrap_err().to_string()
}

#[test]
fn flags_alone_make_a_service() {
    let flags = Overrides { hostname: some("apiserver.cluster.local"), ..one_service() };
    let config = load(None, &flags).unwrap();
    let text = "services:
- name: apiserver
  vip: 10.103.97.2:6443
  hostname: apiserver.cluster.local
  backends: [192.168.0.2:6443, 192.168.0.3:6443]
";
    assert_eq!(config, load_text(text).unwrap());
    assert_eq!(config.services[0].name.as_str(), DEFAULT_SERVICE);
    assert_eq!(load(Some(("lb.yaml", "scope: node\n")), &flags).unwrap().services, config.services);
}

#[test]
fn flags_win_over_the_file() {
    let file = "scope: host
metrics: {listen: 127.0.0.1:1}
services:
- {name: mine, vip: 10.0.0.1:1, policy: random, backends: [10.0.0.2:1], health: {fall: 9, rise: 9}}
";
    let flags = Overrides {
        scope: some("node"),
        metrics_listen: some("off"),
        hosts_manage: Some(false),
        policy: some("round-robin"),
        health_type: some("http"),
        health_path: some("/x"),
        health_expect: vec![204],
        interval: some("1h"),
        timeout: some("2s"),
        fall: Some(5),
        heartbeat: some("off"),
        ..one_service()
    };
    let config = load(Some(("lb.yaml", file)), &flags).unwrap();
    assert_eq!((config.scope, config.metrics, config.hosts.manage), (Scope::Node, None, false));
    let service = &config.services[0];
    assert_eq!((service.name.as_str(), service.policy), ("mine", Policy::RoundRobin));
    assert_eq!((service.vip.to_string().as_str(), service.backends.len()), ("10.103.97.2:6443", 2));
    let CheckKind::Http(http) = &service.health.kind else { panic!("http was asked for") };
    assert_eq!((http.path.as_str(), http.expect.as_slice()), ("/x", [204].as_slice()));
    assert_eq!((service.health.fall.get(), service.health.rise.get()), (5, 9));
    assert_eq!(service.health.heartbeat, None);
}

#[test]
fn a_bad_flag_is_named_without_a_line() {
    let backends = vec!["192.168.0.2:6443".to_owned(), "192.168.0.3".to_owned()];
    for (flags, wanted) in [
        (
            Overrides { backends: backends.clone(), ..one_service() },
            "--backend[1]: \"192.168.0.3\" has no port (hint: write 192.168.0.3:6443)",
        ),
        (Overrides { backends: Vec::new(), ..one_service() }, "--backend: no backend"),
        (Overrides { vip: None, ..one_service() }, "--vip: missing"),
        (Overrides { vip: some("[::1]:0"), ..one_service() }, "--vip: port 0"),
        (
            Overrides { vip: some("192.168.0.3:6443"), ..one_service() },
            "--backend[1]: backend 192.168.0.3:6443 is the",
        ),
        (Overrides { policy: some("x"), ..one_service() }, "--policy: \"x\" is none of"),
        (Overrides { rescue: some("x"), ..one_service() }, "--rescue: \"x\" is none of on, off"),
        (with_dataplane("x"), "--dataplane: \"x\" is none of auto, socket, ipvs, packet"),
        (with_dataplane("socket,"), "--dataplane: \"\" is none of socket, ipvs, packet"),
        (with_dataplane("ipvs,packet"), "--dataplane: packet and ipvs cannot work on one node"),
        (with_dataplane("socket,packet,socket"), "--dataplane: socket is listed twice"),
        (Overrides { bpffs: some("x"), ..one_service() }, "--bpffs: \"x\" is not an absolute path"),
        (Overrides { hosts_path: some("x"), ..one_service() }, "--hosts-path: \"x\" is not"),
        (Overrides { admin_socket: some("x"), ..one_service() }, "--admin-socket: \"x\" is not"),
        (Overrides { interval: some("100ms"), ..one_service() }, "--interval: timeout 1s is longer than"),
        (Overrides { health_expect: vec![99], ..one_service() }, "--health-expect: 99 is not in"),
        (Overrides { fall: Some(0), ..one_service() }, "--fall: 0 is not in"),
        (Overrides { health_method: some("G T"), ..one_service() }, "--health-req-method: \"G T\" is not a"),
        (
            Overrides { health_method: some("CONNECT"), ..one_service() },
            "--health-req-method: \"CONNECT\" is",
        ),
        (with_header("", "x"), "--health-req-headers: \"\" is not the name of a header"),
        (with_header("a b", "x"), "--health-req-headers: \"a b\" is not the name of a header"),
        (with_header("Accept", "a\r\nb"), "--health-req-headers: the value of Accept has characters"),
        (with_header("Host", "a"), "--health-req-headers: Host is a header of the connection itself"),
        (with_header("A", &"x".repeat(8192)), "--health-req-headers: 8193 bytes of headers, at most 8192"),
        (
            Overrides { health_body: Some("x".repeat(8193)), ..one_service() },
            "--health-req-body: 8193 bytes of body, at most 8192",
        ),
        (Overrides { dead_after: some("1ms"), ..one_service() }, "--dead-after: 1ms is shorter than"),
    ] {
        for file in [None, Some(LEAST)] {
            // With a file, what a flag does not say is there.
            if file.is_some() && (wanted.contains("no backend") || wanted.contains("missing")) {
                continue;
            }
            let seen = flag_complaints(file, &flags);
            assert!(seen.starts_with(wanted), "wanted {wanted}\nseen   {seen}");
            assert_eq!(seen.lines().count(), 1, "one mistake is one line: {seen}");
        }
    }
}

fn with_dataplane(text: &str) -> Overrides {
    Overrides { dataplane: some(text), ..one_service() }
}

#[test]
fn a_flag_names_two_dataplanes_as_a_list_in_the_file_does() {
    let file = format!("dataplane: ipvs\nrescue: on\n{LEAST}");
    for (flag, wanted) in [
        ("auto", None),
        ("packet", Some(DataplaneKind::Packet.into())),
        ("socket,packet", Some(Dataplanes::SocketAndPacket)),
        ("packet, socket", Some(Dataplanes::SocketAndPacket)),
    ] {
        let flags = Overrides { rescue: some("off"), ..with_dataplane(flag) };
        let config = load(Some(("lb.yaml", &file)), &flags).unwrap();
        assert_eq!((config.dataplane, config.rescue), (wanted, false), "{flag}");
        assert_eq!(flags.flags()[..2], [("dataplane", flag.to_owned()), ("rescue", "off".to_owned())]);
    }
}

fn with_header(name: &str, value: &str) -> Overrides {
    Overrides { health_headers: vec![(name.to_owned(), value.to_owned())], ..one_service() }
}

#[test]
fn flags_can_ask_for_more_than_a_get() {
    let headers = vec![("X-Probe".to_owned(), "a".to_owned()), ("x-probe".to_owned(), String::new())];
    let flags = Overrides {
        health_method: some("POST"),
        health_headers: headers.clone(),
        health_body: some("{}"),
        ..one_service()
    };
    let config = load(Some(("lb.yaml", LEAST)), &flags).unwrap();
    let CheckKind::Https(http, _) = &config.services[0].health.kind else { panic!("https is the default") };
    let wanted = HttpCheck {
        method: "POST".to_owned(),
        headers,
        body: "{}".to_owned(),
        ..HttpCheck::get("/readyz", [200, 401, 403])
    };
    assert_eq!(*http, wanted);
    let tcp = Overrides { health_type: some("tcp"), ..flags };
    assert!(flag_complaints(None, &tcp).starts_with("--health-req-method: makes no sense with type tcp"));
}

#[test]
fn the_file_knows_no_request_but_a_get() {
    let file = format!("{LEAST}  health: {{method: POST}}\n");
    assert!(complaints(&file).starts_with("lb.yaml:5:12: services[0].health.method: unknown field"));
}

#[test]
fn a_flag_for_one_service_does_not_choose_among_several() {
    let file = format!("{LEAST}- {{name: b, vip: 10.0.0.1:1, backends: [10.0.0.2:1]}}\n");
    let flags = Overrides { hostname: some("a.b"), ..Overrides::default() };
    let errors = load(Some(("lb.yaml", &file)), &flags).unwrap_err();
    assert_eq!(errors.errors[0].problem, Problem::WhichService { services: 2 });
    assert_eq!(
        errors.to_string(),
        "--hostname: describes one service, but the config file has 2 (hint: change the service in the file)"
    );
    let global = Overrides { scope: some("node"), ..Overrides::default() };
    assert!(load(Some(("lb.yaml", &file)), &global).is_ok(), "a flag for the whole agent is no such choice");
}

#[test]
fn a_mistake_in_the_file_that_a_flag_replaces_is_none() {
    let file = LEAST.replace("10.103.97.2:6443", "nonsense");
    assert!(load(Some(("lb.yaml", &file)), &one_service()).is_ok());
}

#[test]
fn mistakes_of_the_file_come_before_those_of_flags() {
    let flags = Overrides { scope: some("x"), ..Overrides::default() };
    let seen = flag_complaints(Some(&LEAST.replace("6443", "0")), &flags);
    let lines: Vec<_> = seen.lines().collect();
    assert!(lines[0].starts_with("lb.yaml:3:8: services[0].vip"), "{seen}");
    assert!(lines[2].starts_with("--scope: "), "{seen}");
}

#[test]
fn nothing_at_all_is_no_service() {
    assert!(flag_complaints(None, &Overrides::default()).starts_with("services: no service (hint: "));
}
