//! `lbctl check`, and how flags, environment and file go together.

use serde_json::{Value, json};

use super::sandbox::Sandbox;

#[test]
fn a_good_config_is_praised_with_its_size() {
    let sandbox = Sandbox::new();
    let file = sandbox.good_config(|text| text);
    for arguments in [["check", "-c", &file], ["-c", &file, "check"]] {
        let done = sandbox.lbctl(&arguments);
        assert_eq!((done.code, done.stdout), (0, format!("{file}: ok (1 service, 2 backends)\n")));
        assert_eq!(done.stderr, "");
    }
    let view = sandbox.lbctl(&["check", "-c", &file, "-o", "json"]);
    assert_eq!((view.code, view.json()), (0, json!({"valid": true, "errors": []})));
}

#[test]
fn every_mistake_is_a_line_with_its_place_and_field() {
    let sandbox = Sandbox::new();
    let file = sandbox
        .good_config(|text| text.replace("10.103.97.2:6443", "10.103.97.2:0").replace("0.3:6443", "0.3"));
    let done = sandbox.lbctl(&["check", "-c", &file]);
    assert_eq!((done.code, done.stdout.as_str()), (2, ""));
    let lines: Vec<_> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{done:?}");
    assert!(lines[0].starts_with(&format!("{file}:7:8: services[0].vip: port 0")), "{done:?}");
    assert!(lines[1].starts_with(&format!("{file}:9:32: services[0].backends[1]: ")), "{done:?}");
}

#[test]
fn each_class_of_mistake_is_2() {
    for (from, to, wanted) in [
        ("services:", "colour: red\nservices:", "colour: unknown field"),
        ("services:", "services: [", "config.yaml:6:1: "),
        ("vip: 10.103.97.2:6443", "vip: 192.168.0.2:6443", "is the VIP of"),
        ("vip: 10.103.97.2:6443", "vip: '[fd00::2]:6443'", "is not of the family"),
        ("192.168.0.3:6443", "192.168.0.2:6443", "is already taken by services[0].backends[0]"),
        ("[192.168.0.2:6443, 192.168.0.3:6443]", "[]", "no backend"),
        ("[192.168.0.2:6443, 192.168.0.3:6443]", "7", "services[0].backends"),
        ("hostname: apiserver.cluster.local", "health: {timeout: 3s}", "timeout 3s is longer than"),
        ("hostname: apiserver.cluster.local", "health: {interval: 0s}", "interval"),
        ("bpffs: ", "bpffs: ../", "is not an absolute path"),
    ] {
        let sandbox = Sandbox::new();
        let file = sandbox.good_config(|text| text.replacen(from, to, 1));
        let done = sandbox.lbctl(&["check", "-c", &file]);
        assert_eq!(done.code, 2, "{to}: {done:?}");
        assert!(
            done.stderr.starts_with(&format!("{file}:")) && done.stderr.contains(wanted),
            "{to}: {done:?}"
        );
    }
}

#[test]
fn mistakes_have_a_view_for_scripts() {
    let sandbox = Sandbox::new();
    let file = sandbox.good_config(|text| text.replace("vip: 10.103.97.2:6443", "vip: 10.103.97.2"));
    let done = sandbox.lbctl(&["-o", "json", "check", "-c", &file, "--scope", "moon"]);
    assert_eq!((done.code, done.stderr.as_str()), (2, ""));
    let view = done.json();
    assert_eq!(view["valid"], false);
    let [vip, scope] = view["errors"].as_array().unwrap().as_slice() else { panic!("{view}") };
    assert_eq!(
        (&vip["path"], &vip["line"], &vip["column"]),
        (&json!("services[0].vip"), &json!(7), &json!(8))
    );
    assert_eq!(vip["hint"], "write 10.103.97.2:6443");
    assert_eq!((&scope["path"], &scope["line"]), (&json!("--scope"), &Value::Null));
    assert!(scope["message"].as_str().unwrap().contains("\"moon\" is none of"), "{view}");
    let yaml = sandbox.lbctl(&["-o", "yaml", "check", "-c", &file]);
    assert!(yaml.stdout.starts_with("valid: false\n"), "{yaml:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_2_and_named() {
    let sandbox = Sandbox::new();
    let (absent, dir) = (sandbox.path("absent.yaml"), sandbox.path(""));
    std::fs::write(sandbox.path("binary.yaml"), b"bpffs: \xff\n").unwrap();
    let large = sandbox.file("large.yaml", &"# comment\n".repeat(200_000));
    for (file, wanted) in [
        (&absent, "No such file"),
        (&dir, "Is a directory"),
        (&sandbox.path("binary.yaml"), "it is not UTF-8 text, at byte 7"),
        (&large, "it has more than 1048576 bytes"),
    ] {
        let done = sandbox.lbctl(&["check", "-c", file]);
        assert_eq!(done.code, 2, "{done:?}");
        let start = format!("lbctl: failed to check the config: read config file {file}");
        assert!(done.stderr.starts_with(&start) && done.stderr.contains(wanted), "{done:?}");
        let view = sandbox.lbctl(&["check", "-c", file, "-o", "json"]).json();
        assert!(view["errors"][0]["message"].as_str().unwrap().contains(wanted), "{view}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let sandbox = Sandbox::new();
    let file = sandbox.good_config(|text| text);
    let count = |arguments: &[&str], environment: &[(&str, &str)]| {
        let done = sandbox.lbctl_with(&[&["check", "-c", &file], arguments].concat(), environment);
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout.trim_end().rsplit_once(", ").unwrap().1.to_owned()
    };
    let three = ("LBCTL_BACKEND", "192.168.0.5:1,192.168.0.6:1,192.168.0.7:1");
    assert_eq!(count(&[], &[]), "2 backends)");
    assert_eq!(count(&[], &[three]), "3 backends)");
    assert_eq!(count(&["--backend", "192.168.0.9:1"], &[three]), "1 backend)");
    assert_eq!(
        count(&["--backend", "192.168.0.9:1", "--backend", "192.168.0.8:1,192.168.0.7:1"], &[]),
        "3 backends)"
    );
}

#[test]
fn the_environment_names_the_config_too() {
    let sandbox = Sandbox::new();
    let file = sandbox.good_config(|text| text);
    let done = sandbox.lbctl_with(&["check"], &[("LBCTL_CONFIG", &file), ("LBCTL_OUTPUT", "json")]);
    assert_eq!(done.json()["valid"], true);
    let other = sandbox.file("other.yaml", "nonsense: 1\n");
    assert_eq!(sandbox.lbctl_with(&["check", "-c", &other], &[("LBCTL_CONFIG", &file)]).code, 2);
}

#[test]
fn every_field_can_be_given_by_flag() {
    let sandbox = Sandbox::new();
    let empty = sandbox.config("");
    let flags = "--dataplane socket --scope node --cgroup auto --bpffs /sys/fs/bpf/x --state-dir /x --hosts-path /x \
        --hosts-manage false --admin-socket /x --metrics-listen off --vip 10.0.0.1:1 --backend 10.0.0.2:1 \
        --hostname a.b --policy round-robin --prefer local --health-type https --health-path /x --health-expect 200,204 \
        --server-name auto --ca auto --interval 5s --timeout 2s --fall 2 --rise 1 --heartbeat 1s --dead-after 9s \
        --on-down keep --on-all-down refuse";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let done = sandbox.lbctl(&[&["check", "-c", &empty], flags.as_slice()].concat());
    assert_eq!(done.code, 0, "{done:?}");
    // Each of them reaches the config: with a wrong value it is named in the complaint.
    for (index, flag) in flags.iter().enumerate().filter(|(_, word)| word.starts_with("--")) {
        let mut wrong = flags.clone();
        wrong[index + 1] = "@";
        let done = sandbox.lbctl(&[&["check", "-c", &empty], wrong.as_slice()].concat());
        assert!(done.code == 2 && done.stderr.contains(flag), "{flag}: {done:?}");
    }
}
