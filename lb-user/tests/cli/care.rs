//! `lbctl care`: what it takes from flags and environment, as far as it goes without root.

use super::sandbox::Sandbox;

const VS: &str = "10.103.97.2:6443";

#[test]
fn a_value_that_is_none_is_wrong_usage() {
    let sandbox = Sandbox::new();
    for (more, wanted) in [
        (&["--interval", "soon"][..], "write seconds, 5, or a duration"),
        (&["--interval", "-5"], "it is negative"),
        (&["--scheduler", "random"], "it is none of rr, wrr, lc, wlc, sh, dh"),
        (&["--mode", "tunnel"], "it is none of route, link"),
        (&["--health-schem", "tcp"], "it is none of https, http"),
        (&["--health-status", "4xx"], "it is no status code"),
        (&["--health-req-headers", "A"], "is not NAME=VALUE"),
        (&["--run-once=maybe"], "it is neither true nor false"),
    ] {
        let done = sandbox.lbctl(&[&["care", "--vs", VS, "--rs", "192.168.0.2:6443"], more].concat());
        assert_eq!(done.code, 2, "{more:?}: {done:?}");
        assert!(done.stderr.contains(wanted), "{more:?}: {done:?}");
    }
    let done = sandbox.lbctl(&["care", "--rs", "192.168.0.2:6443"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("--vs <ADDR:PORT>"), "{done:?}");
}

#[test]
fn a_wrong_configuration_is_told_in_lvscares_words_after_the_notes() {
    let done = Sandbox::new().lbctl(&["care", "--vs", "10.103.97.2:0", "--rs", "m1:6443", "-i", "lvs0"]);
    assert_eq!(done.code, 2, "{done:?}");
    let at = |text| done.stderr.find(text).unwrap_or_else(|| panic!("{text}: {done:?}"));
    assert!(at("--iface lvs0 has no meaning any more") < at("--vs: port 0"), "{done:?}");
    assert!(done.stderr.contains("--rs[0]: \"m1:6443\" is a name"), "{done:?}");
}

#[test]
fn each_flag_can_be_given_in_the_environment_where_an_empty_value_is_none() {
    let sandbox = Sandbox::new();
    let wrong = [("CARE_VS", "10.103.97.2:0"), ("CARE_RS", "m1:1,m2:1"), ("CARE_HEALTH_PATH", "/a b")];
    let done = sandbox.lbctl_with(&["care"], &wrong);
    assert_eq!(done.code, 2, "{done:?}");
    for wanted in ["--vs: port 0", "--rs[0]: ", "--rs[1]: ", "--health-path: \"/a b\""] {
        assert!(done.stderr.contains(wanted), "{wanted}: {done:?}");
    }
    let done = sandbox.lbctl_with(&["care", "--vs", VS, "--rs", "m9:1"], &wrong);
    assert!(!done.stderr.contains("port 0") && !done.stderr.contains("m1:1"), "a flag wins: {done:?}");

    let empty = ["INTERVAL", "RUN_ONCE", "CLEAN", "MODE", "SCHEDULER", "HEALTH_STATUS", "HEALTH_SCHEM", "IP"];
    let names = empty.map(|name| format!("CARE_{name}"));
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "")).chain(wrong).collect();
    let done = sandbox.lbctl_with(&["care"], &variables);
    assert!(done.code == 2 && done.stderr.contains("--vs: port 0"), "{done:?}");
    assert!(!done.stderr.contains("any more"), "{done:?}");

    for (name, value, wanted) in [
        ("CARE_INTERVAL", "soon", "--interval"),
        ("CARE_RUN_ONCE", "maybe", "--run-once"),
        ("CARE_HEALTH_INSECURE_SKIP_VERIFY", "maybe", "--health-insecure-skip-verify"),
        ("CARE_MASQUERADEBIT", "3", "--masqueradebit 3 has no meaning"),
    ] {
        let done = sandbox.lbctl_with(&["care", "--vs", VS, "--rs", "m1:1"], &[(name, value)]);
        assert!(done.code == 2 && done.stderr.contains(wanted), "{name}: {done:?}");
    }
}

#[test]
fn clean_removes_what_an_agent_left_as_cleanup_does_and_reads_no_config() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text);
    sandbox.file("hosts", "127.0.0.1 localhost\n");
    assert_eq!(sandbox.lbctl(&["hosts", "apply", "-c", &config]).code, 0);
    let broken = sandbox.file("broken.yaml", "services: 1\n");
    let variables = [
        ("LBCTL_BPFFS", sandbox.path("bpf/lbctl")),
        ("LBCTL_STATE_DIR", sandbox.path("state")),
        ("LBCTL_HOSTS_PATH", sandbox.path("hosts")),
        ("LBCTL_ADMIN_SOCKET", sandbox.path("lbctl.sock")),
        ("LBCTL_CONFIG", broken),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for removed in ["removed the entry in", "nothing to remove"] {
        let done = sandbox.lbctl_with(&["care", "--vs", VS, "-C"], &variables);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.starts_with(removed), "{done:?}");
        assert!(done.stderr.contains("is not read"), "{done:?}");
    }
    assert_eq!(std::fs::read_to_string(sandbox.path("hosts")).unwrap(), "127.0.0.1 localhost\n");
}
