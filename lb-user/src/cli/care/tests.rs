#![allow(clippy::unwrap_used, clippy::panic)]

use clap::{CommandFactory as _, Parser as _};
use lb_core::{
    config::{self, Config},
    model::{DataplaneKind, Policy, Scope},
    probe::{Ca, CheckKind, HttpCheck, ServerName, TlsCheck},
};

use super::{
    super::{Cli, Command},
    *,
};

const VS: &str = "10.103.97.2:6443";
const LEAST: [&str; 4] = ["--vs", VS, "--rs", "192.168.0.2:6443"];

fn parse(arguments: &[&str]) -> Care {
    let words = ["lbctl", "care"].iter().chain(arguments);
    match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).command {
        Command::Care(care) => care,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// What becomes of these flags, beside a virtual address and one real server.
fn mapped(more: &[&str]) -> Mapped {
    mapping::map(parse(&[&LEAST[..], more].concat()).flags, Overrides::default())
}

fn load(mapped: &Mapped) -> Config {
    config::load(None, &mapped.overrides).unwrap()
}

/// The configuration with these flags, which no note is about.
fn config_of(more: &[&str]) -> Config {
    let mapped = mapped(more);
    assert_eq!(mapped.notes, [""; 0], "{more:?}");
    load(&mapped)
}

fn http_of(config: &Config) -> &HttpCheck {
    match &config.services[0].health.kind {
        CheckKind::Http(http) | CheckKind::Https(http, _) => http,
        CheckKind::Tcp => panic!("lvscare has no such check"),
    }
}

fn seconds(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds)
}

#[test]
fn the_help_lists_every_flag_of_lvscare() {
    let mut command = Cli::command();
    let help = command.find_subcommand_mut("care").unwrap().render_help().to_string();
    for flag in LVSCARE_FLAGS {
        assert!(
            help.contains(&format!("--{flag} ")) || help.contains(&format!("--{flag}[")),
            "{flag}: {help}"
        );
    }
    assert!(help.contains("-i, --iface") && help.contains("-C, --clean"), "{help}");
}

#[test]
fn without_more_flags_the_defaults_are_lvscares() {
    let mapped = mapped(&[]);
    assert_eq!((mapped.action, mapped.notes.len()), (Action::Run, 0), "{mapped:?}");
    let config = load(&mapped);
    assert_eq!((config.dataplane, config.scope, config.hosts.manage), (None, Scope::Host, false));
    let [service] = config.services.as_slice() else { panic!("one service: {config:?}") };
    assert_eq!((service.vip.to_string().as_str(), &service.hostname), (VS, &None));
    assert_eq!(service.policy, Policy::RoundRobin);
    assert_eq!(service.backends[0].address.to_string(), "192.168.0.2:6443");
    let healthy: Vec<u16> = (100..=399).collect();
    let trust = TlsCheck { ca: Ca::Insecure, server_name: ServerName::Auto };
    assert_eq!(service.health.kind, CheckKind::Https(HttpCheck::get("/healthz", healthy), trust));
    assert_eq!((service.health.interval, service.health.timeout), (seconds(5), seconds(5)));
}

#[test]
fn the_arguments_of_a_sealos_pod_are_those_defaults() {
    let pod = "--vs 10.103.97.2:6443 --health-path /healthz --health-schem https --rs 192.168.0.2:6443";
    let words: Vec<_> = pod.split(' ').collect();
    let mapped = mapping::map(parse(&words).flags, Overrides::default());
    assert_eq!(mapped, self::mapped(&[]));
}

#[test]
fn real_servers_are_given_one_by_one_or_in_a_list() {
    let more = ["--rs", "192.168.0.3:6443,192.168.0.4:6443", "--rs=192.168.0.5:6443"];
    let backends =
        config_of(&more).services[0].backends.iter().map(|b| b.address.to_string()).collect::<Vec<_>>();
    assert_eq!(backends, [2, 3, 4, 5].map(|host| format!("192.168.0.{host}:6443")));
}

#[test]
fn each_scheduler_has_its_policy() {
    for (scheduler, policy) in [
        ("rr", Policy::RoundRobin),
        ("wrr", Policy::RoundRobin),
        ("lc", Policy::LeastConn),
        ("wlc", Policy::LeastConn),
        ("sh", Policy::Sticky),
    ] {
        assert_eq!(config_of(&["--scheduler", scheduler]).services[0].policy, policy, "{scheduler}");
    }
}

#[test]
fn link_mode_serves_pods_unless_a_scope_is_named() {
    let link = mapped(&["--mode", "link"]);
    assert_eq!(load(&link).scope, Scope::Node);
    let node = Overrides { scope: Some("host".to_owned()), ..Overrides::default() };
    let care = parse(&[&LEAST[..], &["--mode=link"]].concat());
    assert_eq!(load(&mapping::map(care.flags, node)).scope, Scope::Host);
    assert_eq!(config_of(&["--mode", ""]).scope, Scope::Host);
}

#[test]
fn the_health_flags_shape_the_probe() {
    let config = config_of(&[
        "--health-schem",
        "http",
        "--health-path",
        "healthz?x",
        "--health-req-method",
        "POST",
        "--health-req-body",
        "-x",
        "--health-req-headers",
        "A=1,B=2",
        "--health-req-headers",
        "A=3,4",
        "--health-status",
        "401,403",
        "--health-status",
        "200",
        "--health-status",
        "401",
    ]);
    let pairs = [("A", "3"), ("A", "4"), ("B", "2")];
    let wanted = HttpCheck {
        method: "POST".to_owned(),
        headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: "-x".to_owned(),
        ..HttpCheck::get("/healthz?x", (100..=399).chain([401, 403]).collect::<Vec<u16>>())
    };
    assert_eq!(config.services[0].health.kind, CheckKind::Http(wanted));
}

#[test]
fn intervals_are_plain_seconds_or_durations_and_0_is_the_default() {
    for (text, interval) in [("5", 5), ("7", 7), ("1m30s", 90), ("2s", 2), ("0", 5), ("0s", 5)] {
        let health = config_of(&["--interval", text]).services[0].health.clone();
        let timeout = seconds(interval.min(10));
        assert_eq!((health.interval, health.timeout), (seconds(interval), timeout), "{text}");
    }
    let health = config_of(&["--health-timeout", "1s", "--interval", "3"]).services[0].health.clone();
    assert_eq!((health.interval, health.timeout), (seconds(3), seconds(1)));
}

#[test]
fn switches_take_a_value_only_behind_an_equals_sign() {
    for (flags, action) in [
        (&["--run-once"][..], Action::RunOnce),
        (&["--run-once=true"], Action::RunOnce),
        (&["--run-once=0"], Action::Run),
        (&["--clean"], Action::Clean),
        (&["-C"], Action::Clean),
        (&["--clean=false", "--run-once=T"], Action::RunOnce),
        (&["--run-once", "--clean"], Action::Clean),
    ] {
        assert_eq!(mapped(flags).action, action, "{flags:?}");
    }
    assert_eq!(mapping::map(parse(&["--vs", VS, "-C"]).flags, Overrides::default()).action, Action::Clean);
}

#[test]
fn of_a_flag_that_is_given_twice_the_later_one_holds() {
    let config =
        config_of(&["--interval", "3", "--interval", "4", "--health-path=/a", "--health-path", "/b"]);
    assert_eq!((config.services[0].health.interval, http_of(&config).path.as_str()), (seconds(4), "/b"));
}

#[test]
fn what_cannot_be_had_as_asked_for_is_accepted_and_told() {
    for (flags, wanted) in [
        (&["-i", "lvs0"][..], "--iface lvs0 has no meaning any more"),
        (&["--ip", "192.168.0.9"], "--ip 192.168.0.9 has no meaning any more"),
        (&["--masqueradebit", "2"], "--masqueradebit 2 has no meaning any more"),
        (&["--mode", "route"], "--mode route has no meaning any more"),
        (&["--mode", "link"], "--mode link means that pods are served too"),
        (&["--logger", "WARN"], "--logger WARN is taken for INFO"),
        (&["--scheduler", "dh"], "--scheduler dh is taken for sh"),
        (&["--rs", "192.168.0.2:6443"], "--rs 192.168.0.2:6443 is given twice"),
        (&["--health-timeout", "10s"], "--health-timeout 10s is cut to the interval, 5s"),
        (&["--health-insecure-skip-verify=false"], "--health-insecure-skip-verify=false trusts /etc/"),
        (&["--health-req-headers", "Host=a"], "--health-req-headers Host is not sent"),
        (&["--clean"], "--clean removes what lbctl made"),
    ] {
        let mapped = mapped(flags);
        let [note] = mapped.notes.as_slice() else { panic!("{flags:?}: {:?}", mapped.notes) };
        assert!(note.starts_with(wanted), "{flags:?}: {note}");
        if mapped.action != Action::Clean {
            load(&mapped);
        }
    }
}

#[test]
fn certificates_are_verified_only_where_that_is_asked_for() {
    let config = load(&mapped(&["--health-insecure-skip-verify=false"]));
    let CheckKind::Https(_, tls) = &config.services[0].health.kind else { panic!("https is the default") };
    assert_eq!(tls.ca, Ca::File("/etc/kubernetes/pki/ca.crt".into()));
    for more in [&["--health-insecure-skip-verify"][..], &["--health-insecure-skip-verify=true"], &[]] {
        let config = config_of(more);
        let CheckKind::Https(_, tls) = &config.services[0].health.kind else {
            panic!("https is the default")
        };
        assert_eq!(tls.ca, Ca::Insecure, "{more:?}");
    }
    assert!(matches!(config_of(&["--health-schem", "http"]).services[0].health.kind, CheckKind::Http(_)));
}

#[test]
fn what_is_wrong_is_told_in_lvscares_words() {
    let lines = |arguments: &[&str]| {
        let mapped = mapping::map(parse(arguments).flags, Overrides::default());
        mapping::in_lvscares_words(config::load(None, &mapped.overrides).unwrap_err()).to_string()
    };
    for (arguments, wanted) in [
        (&["--vs", VS][..], "--rs: no backend"),
        (&["--vs", "10.103.97.2", "--rs", "192.168.0.2:1"], "--vs: \"10.103.97.2\" has no port"),
        (&["--vs", VS, "--rs", "192.168.0.2:1,m2:1"], "--rs[1]: \"m2:1\" is a name"),
        (&["--vs", VS, "--rs", VS], "--rs[0]: backend 10.103.97.2:6443 is the VIP"),
        (&["--vs", VS, "--rs", "192.168.0.2:1", "--interval", "2h"], "--interval: 2h is longer than 1h"),
        (
            &["--vs", VS, "--rs", "192.168.0.2:1", "--health-timeout", "0s"],
            "--health-timeout: must be longer",
        ),
        (&["--vs", VS, "--rs", "192.168.0.2:1", "--health-status", "700"], "--health-status: 700 is not in"),
        (&["--vs", VS, "--rs", "192.168.0.2:1", "--health-path", "/a b"], "--health-path: \"/a b\" is not a"),
        (
            &["--vs", VS, "--rs", "192.168.0.2:1", "--health-req-method", "A B"],
            "--health-req-method: \"A B\"",
        ),
    ] {
        let seen = lines(arguments);
        assert!(seen.starts_with(wanted), "{arguments:?}: {seen}");
    }
}

#[test]
fn without_the_hosts_bpffs_it_is_ipvs_unless_a_dataplane_is_named() {
    let socket = || Some("socket".to_owned());
    for (asked, pins_outlive_us, choice) in [
        (None, true, Choice::One(None)),
        (None, false, Choice::IpvsElseAuto),
        (socket(), true, Choice::One(socket())),
        (socket(), false, Choice::One(socket())),
    ] {
        assert_eq!(mapping::choose_dataplane(asked, pins_outlive_us), choice);
    }
    let care = parse(&[&LEAST[..], &["--dataplane", "ipvs"]].concat());
    let node = Overrides { dataplane: Some("ipvs".to_owned()), ..Overrides::default() };
    assert_eq!(load(&mapping::map(care.flags, node)).dataplane, Some(DataplaneKind::Ipvs.into()));
}

#[test]
fn debg_makes_the_log_louder_and_never_quieter() {
    for (arguments, asked, wanted) in [
        (&["--logger", "DEBG"][..], LogLevel::Info, LogLevel::Debug),
        (&["--logger", "DEBG"], LogLevel::Trace, LogLevel::Trace),
        (&["--logger", "INFO"], LogLevel::Warn, LogLevel::Warn),
        (&[], LogLevel::Info, LogLevel::Info),
    ] {
        assert_eq!(parse(&[&LEAST[..], arguments].concat()).log_level(asked), wanted, "{arguments:?}");
    }
}
