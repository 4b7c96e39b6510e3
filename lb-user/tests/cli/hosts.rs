//! `lbctl hosts` on a file of its own.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::sandbox::Sandbox;

const BEFORE: &str = "127.0.0.1 localhost\n192.168.0.9 apiserver.cluster.local";

#[test]
fn the_entry_is_shown_written_and_removed_without_a_trace() {
    let sandbox = Sandbox::new();
    let (config, hosts) = (sandbox.good_config(|text| text), sandbox.file("hosts", BEFORE));
    let lbctl = |action: &str| sandbox.lbctl(&["hosts", action, "-c", &config]);

    let shadowed = lbctl("show");
    assert_eq!(shadowed.code, 1, "{shadowed:?}");
    let reason = "not in place: other lines map the name too: line 2: 192.168.0.9 apiserver.cluster.local\n";
    assert!(shadowed.stdout.starts_with(&format!("{hosts}: {reason}")), "{shadowed:?}");

    let applied = lbctl("apply");
    assert_eq!((applied.code, applied.stdout), (0, format!("{hosts}: entry written\n")));
    assert!(fs::read_to_string(&hosts).unwrap().contains("\n10.103.97.2 apiserver.cluster.local\n"));
    assert_eq!(lbctl("apply").stdout, format!("{hosts}: already in place\n"));

    let shown = lbctl("show");
    let text = format!("{hosts}: in place\n10.103.97.2 apiserver.cluster.local\n");
    assert_eq!((shown.code, shown.stdout), (0, text));

    assert_eq!(lbctl("remove").stdout, format!("{hosts}: entry removed\n"));
    assert_eq!(fs::read_to_string(&hosts).unwrap(), BEFORE);
    let again = lbctl("remove");
    assert_eq!((again.code, again.stdout), (0, format!("{hosts}: no entry to remove\n")));
}

#[test]
fn a_file_that_lbctl_made_goes_with_the_entry() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text);
    let show = sandbox.lbctl(&["hosts", "show", "-c", &config, "-o", "json"]);
    let hosts = sandbox.path("hosts");
    let entries = json!([{"address": "10.103.97.2", "hostname": "apiserver.cluster.local"}]);
    let wanted =
        json!({"path": hosts, "inPlace": false, "reason": "the file does not exist", "entries": entries});
    assert_eq!((show.code, show.json()), (1, wanted));
    let apply = sandbox.lbctl(&["hosts", "apply", "-c", &config, "-o", "json"]);
    assert_eq!(apply.json(), json!({"path": hosts, "changed": true}));
    assert_eq!(sandbox.lbctl(&["hosts", "remove", "-c", &config]).code, 0);
    assert!(!fs::exists(&hosts).unwrap());
}

#[test]
fn removing_works_with_a_broken_config_where_the_file_is_named() {
    let sandbox = Sandbox::new();
    let (config, hosts) = (sandbox.good_config(|text| text), sandbox.file("hosts", BEFORE));
    assert_eq!(sandbox.lbctl(&["hosts", "apply", "-c", &config]).code, 0);
    sandbox.config("services: 7\n");
    let done = sandbox.lbctl(&["hosts", "remove", "-c", &config, "--hosts-path", &hosts]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("note: ") && done.stderr.contains(&format!("{config}:1:11")), "{done:?}");
    assert_eq!(fs::read_to_string(&hosts).unwrap(), BEFORE);
    assert_eq!(sandbox.lbctl(&["hosts", "apply", "-c", &config]).code, 2, "nobody knows what to write");
}

#[test]
fn a_directory_that_does_not_exist_is_named_with_a_remedy() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text);
    let nowhere = sandbox.path("nowhere/hosts");
    let done = sandbox.lbctl(&["hosts", "apply", "-c", &config, "--hosts-path", &nowhere]);
    assert_eq!(done.code, 1, "{done:?}");
    let start = format!("lbctl: failed to apply the hosts entry: write hosts file {nowhere} (hint: ");
    assert!(done.stderr.starts_with(&start), "{done:?}");
}

#[test]
fn without_permission_it_is_5() {
    let sandbox = Sandbox::new();
    let config = sandbox.good_config(|text| text.replace("/hosts}", "/dir/hosts}"));
    fs::create_dir(sandbox.path("dir")).unwrap();
    sandbox.file("dir/hosts", BEFORE);
    for (path, mode) in [("dir/hosts", 0o444), ("dir", 0o555)] {
        fs::set_permissions(sandbox.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let done = sandbox.unprivileged(&["hosts", "apply", "-c", &config]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("hint: run as root"), "{done:?}");
    assert_eq!(fs::read_to_string(sandbox.path("dir/hosts")).unwrap(), BEFORE);
    // So that a user who is not root can remove the sandbox.
    fs::set_permissions(sandbox.path("dir"), fs::Permissions::from_mode(0o755)).unwrap();
}
