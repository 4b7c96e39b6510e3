//! Commands that talk to the agent: with a fake one, and with none.

use super::{sandbox::Sandbox, served::Served};

#[test]
fn status_and_backends_print_what_the_agent_says() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    let config = sandbox.good_config(|text| text);
    let backends = fake.asked(&sandbox, &["backends", "-c", &config]);
    assert_eq!((backends.code, backends.stderr.as_str()), (0, ""));
    assert!(backends.stdout.starts_with("SERVICE    VIP"), "{backends:?}");
    let list = fake.asked(&sandbox, &["backends", "list", "-o", "json", "-c", &config]).json();
    assert_eq!(list["services"][0]["backends"][0]["connections"]["total"], 120);
    let status = fake.asked(&sandbox, &["status"]);
    assert_eq!(status.code, 0);
    assert!(status.stdout.starts_with("agent      lbctl 0.1.0, pid 4242"), "{status:?}");
    assert_eq!(fake.asked(&sandbox, &["status", "-o", "json"]).json()["agent"]["pid"], 4242);
}

#[test]
fn connections_are_listed_or_counted_as_the_flags_say() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    let all = fake.asked(&sandbox, &["connections"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    assert!(
        all.stdout.starts_with("CLIENT        VIP               BACKEND         PORT   STATE  AGE    IDLE\n"),
        "{all:?}"
    );
    assert!(all.stdout.contains("\nDROPPED  PACKETS\nfull     5"), "{all:?}");
    let summary = fake.asked(&sandbox, &["connections", "--summary", "--service", "apiserver"]);
    assert!(summary.stdout.starts_with("SERVICE    VIP"), "{summary:?}");
    let view = fake.asked(&sandbox, &["connections", "--limit", "1", "-o", "json"]).json();
    assert_eq!((&view["truncated"], &view["total"]), (&true.into(), &3.into()));
    assert_eq!(view["connections"].as_array().unwrap().len(), 1);
    let none = fake.asked(&sandbox, &["connections", "--backend", "192.168.0.9:1", "-o", "json"]).json();
    assert_eq!(none["connections"], serde_json::json!([]));
    let unknown = fake.asked(&sandbox, &["connections", "--service", "web"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.contains("no service is named web; hint: known services: apiserver"),
        "{unknown:?}"
    );
}

#[test]
fn a_change_prints_what_is_now() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    for (arguments, wanted) in [
        (
            &["drain", "192.168.0.2:6443"][..],
            "192.168.0.2:6443: is now draining (health up, serving, weight 1)\n",
        ),
        (&["enable", "192.168.0.2:6443"], "192.168.0.2:6443: is now active (health up, serving, weight 1)\n"),
        (&["disable", "[fd00::2]:6443"], "[fd00::2]:6443: is now disabled (health up, serving, weight 1)\n"),
        (
            &["add", "192.168.0.9:6443", "--weight", "2", "--service", "apiserver"],
            "192.168.0.9:6443: added, active (health up, serving, weight 2)\n",
        ),
    ] {
        let done = fake.asked(&sandbox, &[&["backends"], arguments].concat());
        assert_eq!((done.code, done.stdout.as_str()), (0, wanted), "{done:?}");
    }
    let row = fake.asked(&sandbox, &["backends", "drain", "192.168.0.2:6443", "-o", "json"]).json();
    assert_eq!((&row["address"], &row["admin"]), (&"192.168.0.2:6443".into(), &"draining".into()));
}

#[test]
fn what_the_agent_refuses_is_1_with_its_hint() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    let done = fake.asked(&sandbox, &["backends", "remove", "192.168.0.2:6443"]);
    assert_eq!(done.code, 1);
    let start = "lbctl: failed to remove backend 192.168.0.2:6443: backend 192.168.0.2:6443 of service apiserver comes";
    assert!(done.stderr.starts_with(start), "{done:?}");
    assert!(done.stderr.contains("; hint: remove it from the config file"), "{done:?}");
    let unknown = fake.asked(&sandbox, &["backends", "drain", "192.168.0.2:1", "--service", "web"]);
    assert!(
        unknown.stderr.contains("no service is named web; hint: known services: apiserver"),
        "{unknown:?}"
    );
}

#[test]
fn the_socket_comes_from_the_flag_else_the_environment_else_the_config() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    let socket = fake.socket.as_str();
    let nobody = sandbox.path("nobody.sock");
    let config = sandbox.good_config(|text| text.replace(&sandbox.path("lbctl.sock"), socket));
    let code = |arguments: &[&str], environment: &[(&str, &str)]| {
        sandbox.lbctl_with(&[&["status", "-c", &config], arguments].concat(), environment).code
    };
    assert_eq!(code(&[], &[]), 0);
    assert_eq!(code(&[], &[("LBCTL_ADMIN_SOCKET", &nobody)]), 1);
    assert_eq!(code(&["--admin-socket", socket], &[("LBCTL_ADMIN_SOCKET", &nobody)]), 0);
}

#[test]
fn a_broken_config_does_not_keep_status_from_working() {
    let (fake, sandbox) = (Served::start(), Sandbox::new());
    let config = sandbox.config("services: 7\n");
    let done = fake.asked(&sandbox, &["status", "-c", &config]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    // Without the flag it goes to the default socket, which may or may not be there, but says what is wrong.
    let fallback = sandbox.lbctl(&["status", "-c", &config]);
    assert_ne!(fallback.code, 2, "{fallback:?}");
    let note = format!("lbctl: note: {config}:1:11: services: ");
    assert!(
        fallback.stderr.starts_with(&note) && fallback.stderr.contains("else the default ones"),
        "{fallback:?}"
    );
}

#[test]
fn without_an_agent_status_and_changes_say_so_and_fail() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text);
    for arguments in [&["status"][..], &["backends", "drain", "192.168.0.2:6443"]] {
        let done = sandbox.lbctl(&[arguments, &["-c", &config]].concat());
        assert_eq!((done.code, done.stdout.as_str()), (1, ""));
        let wanted = format!("no agent listens on {}; hint: ", sandbox.path("lbctl.sock"));
        assert!(done.stderr.starts_with("lbctl: failed to ") && done.stderr.contains(&wanted), "{done:?}");
    }
}

#[test]
fn without_an_agent_and_without_permission_to_read_the_kernel_it_is_5() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text);
    let done = sandbox.unprivileged(&["backends", "-c", &config]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("failed to read the kernel's state: CAP_"), "{done:?}");
}

#[test]
fn a_socket_path_that_the_kernel_has_no_room_for_is_2() {
    let sandbox = Sandbox::new();
    let long = sandbox.path(&"x".repeat(120));
    let done = sandbox.lbctl(&["status", "--admin-socket", &long]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("107 is the most"), "{done:?}");
}
