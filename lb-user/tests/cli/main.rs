//! The binary's command line: what it prints where, and how it exits. Nothing here needs root.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod agent;
mod care;
mod check;
mod cleanup;
#[allow(dead_code)]
#[path = "../admin/fake.rs"]
mod fake;
mod hosts;
mod sandbox;
mod served;

use sandbox::Sandbox;

#[test]
fn wrong_usage_is_2_with_an_explanation_on_stderr() {
    let sandbox = Sandbox::new();
    for (arguments, wanted) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&[][..], "Usage: lbctl"),
        (&["status", "--nonsense"], "unexpected argument '--nonsense'"),
        (&["status", "-o", "xml"], "[possible values: table, wide, json, yaml]"),
        (&["status", "--log-level", "loud"], "[possible values: error, warn, info, debug, trace]"),
        (&["backends", "drain"], "<ADDR>"),
        (&["connections", "--backend", "192.168.0.2"], "write it as 192.168.0.2:6443"),
        (&["connections", "--limit", "many"], "invalid value 'many'"),
        (&["backends", "drain", "192.168.0.2"], "write it as 192.168.0.2:6443"),
        (&["backends", "add", "192.168.0.2:1", "--weight", "65536"], "65536 is not in 0..=65535"),
        (&["backends", "drain", "192.168.0.2:1", "--service", "A_b"], "invalid value 'A_b'"),
        (&["backends", "drain", "192.168.0.2:1", "--timeout", "60"], "has no unit"),
        (&["run", "--wait", "5s"], "--once"),
        (&["run", "--once", "--wait", "5"], "\"5\" has no unit"),
        (&["hosts", "frob"], "[possible values: show, apply, remove]"),
        (&["completion", "tcsh"], "[possible values: bash, zsh, fish]"),
    ] {
        let done = sandbox.lbctl(arguments);
        assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
        assert!(done.stderr.contains(wanted), "{arguments:?}: {done:?}");
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_is_on_stdout_and_hides_what_only_the_agent_calls() {
    let done = Sandbox::new().lbctl(&["--help"]);
    assert_eq!(done.code, 0);
    for word in [
        "run",
        "backends",
        "connections",
        "status",
        "check",
        "plan",
        "hosts",
        "cleanup",
        "care",
        "Examples:",
        "Exit codes:",
    ] {
        assert!(done.stdout.contains(word), "{word}: {done:?}");
    }
    assert!(!done.stdout.contains("internal-prove"), "{done:?}");
}

#[test]
fn version_is_one_line_and_has_a_view_for_scripts() {
    let sandbox = Sandbox::new();
    let done = sandbox.lbctl(&["version"]);
    assert_eq!(done.code, 0);
    assert!(done.stdout.starts_with("lbctl 0.1.0 (") && done.stdout.ends_with(")\n"), "{done:?}");
    assert_eq!(sandbox.lbctl(&["version", "-o", "json"]).json()["version"], "0.1.0");
    assert_eq!(sandbox.lbctl(&["--version"]).stdout, "lbctl 0.1.0\n");
}

#[test]
fn completion_knows_the_commands_and_their_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let done = Sandbox::new().lbctl(&["completion", shell]);
        assert_eq!(done.code, 0, "{shell}");
        assert!(
            ["backends", "connections", "summary", "state-dir"].iter().all(|word| done.stdout.contains(word)),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let done = Sandbox::new().piped_to_nobody(&["completion", "bash"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn the_proof_fails_with_1_where_it_cannot_enter_the_cgroup() {
    let sandbox = Sandbox::new();
    let nowhere = sandbox.path("no-such-cgroup");
    let done = sandbox.lbctl(&["internal-prove", "127.200.0.1:1", &nowhere]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains(&format!("failed to enter cgroup {nowhere}")), "{done:?}");
}

#[test]
fn run_and_plan_refuse_a_wrong_config_before_anything_else() {
    let sandbox = Sandbox::new();
    let file = sandbox.config("services: []\n");
    for command in ["run", "plan"] {
        let done = sandbox.lbctl(&[command, "-c", &file]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.starts_with("lbctl: failed to "), "{done:?}");
        assert!(done.stderr.contains(&format!("{file}:1:11: services: no service")), "{done:?}");
    }
}
