//! A node that lacks something, or on which somebody else meddles.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::agent::{fast, named, running, status};
use common::load::{Load, assert_untouched, figure, requests, syn};
use common::quiet::beside_others;
use common::{SOON, lab};
use lb_tests::Lab;
use lb_tests::cgroup::Cgroup;
use lb_tests::lab::{Agent, VIP};
use lb_tests::process::Finished;
use lb_tests::wait::eventually;
use lb_tests::{binaries, command::run};

/// The agent looks at the kernel's state every few seconds.
const RESYNC: Duration = Duration::from_secs(10);

/// `lbctl --config CONFIG run` behind other words, such as `setpriv --…`.
fn run_behind(lab: &Lab, words: &[&str]) -> Finished {
    let lbctl = binaries::lbctl().unwrap();
    let config = lab.config_file();
    let run = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "run"];
    lab.node().run(&[words, &run].concat()).unwrap()
}

#[test]
fn without_capabilities_run_exits_5_and_names_the_missing_one() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    lab.agent_config(|_| ()).unwrap();
    for (missing, expected) in
        [("-all", "CAP_"), ("-net_admin", "CAP_NET_ADMIN"), ("-bpf,-sys_admin", "CAP_BPF")]
    {
        let (bounding, inheritable) = (format!("--bounding-set={missing}"), "--inh-caps=-all");
        let refused = run_behind(&lab, &["setpriv", &bounding, inheritable, "--"]);
        assert_eq!(refused.code(), 5, "without {missing}: {}", refused.stderr);
        assert!(refused.stderr.contains(expected), "without {missing}: {}", refused.stderr);
    }
}

#[test]
fn two_capabilities_are_enough_to_program_a_node() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let config = lab.agent_config(|_| ()).unwrap();
    let least = ["setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all", "--"];
    let lbctl = binaries::lbctl().unwrap();
    let once = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "run", "--once"];
    let done = lab.node().run(&[&least[..], &once].concat()).unwrap();
    assert_eq!(done.code(), 0, "{}", done.stderr);
}

#[test]
fn an_unprivileged_user_gets_exit_code_5_and_the_capability_that_is_missing() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let config = lab.agent_config(|_| ()).unwrap();
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    // The binary may lie in a directory that nobody else may enter.
    let copy = lab.dir().join("lbctl");
    fs::copy(binaries::lbctl().unwrap(), &copy).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let run = [copy.to_str().unwrap(), "--config", config.to_str().unwrap(), "run"];
    let refused = lab.node().run(&[&nobody[..], &run].concat()).unwrap();
    assert_eq!(refused.code(), 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("CAP_"), "{}", refused.stderr);
}

#[test]
fn without_cgroup_v2_run_exits_4_with_a_remedy() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    lab.agent_config(|yaml| yaml["cgroup"] = "auto".into()).unwrap();
    let script = r#"for mount in $(awk '$3 == "cgroup2" { print $2 }' /proc/mounts); do umount -l "$mount"; done; exec "$@""#;
    let refused = run_behind(&lab, &["unshare", "--mount", "sh", "-c", script, "sh"]);
    assert_eq!(refused.code(), 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("cgroup v2") && refused.stderr.contains("ipvs"), "{}", refused.stderr);
}

#[test]
fn a_cgroup_that_is_none_exits_4_and_names_it() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    lab.agent_config(|yaml| yaml["cgroup"] = lab.dir().to_str().unwrap().into()).unwrap();
    let refused = lab.lbctl(&["run"]).unwrap();
    assert_eq!(refused.code(), 4, "{}", refused.stderr);
    assert!(refused.stderr.contains(lab.dir().to_str().unwrap()), "{}", refused.stderr);
}

#[test]
fn an_admin_socket_path_that_no_socket_can_have_exits_2() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let long = lab.dir().join("d".repeat(120));
    lab.agent_config(|yaml| yaml["admin"]["socket"] = long.to_str().unwrap().into()).unwrap();
    let refused = lab.lbctl(&["run"]).unwrap();
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("admin.socket"), "{}", refused.stderr);
    assert!(!lab.pins().exists(), "nothing was programmed");
}

#[test]
fn pins_of_another_layout_are_removed() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let stale = lab.pins().join("v0");
    fs::create_dir_all(stale.join("maps")).unwrap();
    let map = stale.join("maps/old");
    let map = map.to_str().unwrap();
    run(&[
        "bpftool", "map", "create", map, "type", "array", "key", "4", "value", "8", "entries", "1", "name",
        "old",
    ])
    .unwrap();
    let _agent = running(&lab);
    eventually(SOON, "the old layout goes", || {
        if stale.exists() { Err("it is there") } else { Ok(()) }.map_err(str::to_owned)
    })
    .unwrap();
    assert_eq!(requests(lab.node(), VIP, "v4", 10).ok(), 10);
}

#[test]
fn another_programs_map_in_our_place_is_an_error_that_names_the_pin() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    drop(running(&lab));
    let pins = lab.pins();
    let pin = fs::read_dir(pins.join("v1/maps")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    fs::remove_file(&pin).unwrap();
    let pin = pin.to_str().unwrap();
    run(&[
        "bpftool", "map", "create", pin, "type", "array", "key", "4", "value", "8", "entries", "3", "name",
        "odd",
    ])
    .unwrap();
    let refused = lab.lbctl(&["run"]).unwrap();
    assert!(refused.code() == 1 || refused.code() == 4, "{}", refused.stderr);
    assert!(refused.stderr.contains(pin) && refused.stderr.contains("lbctl cleanup"), "{}", refused.stderr);
}

#[test]
fn links_whose_cgroup_died_are_replaced_at_the_next_start() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let name = lab.name().role("dying");
    let cgroup = Cgroup::new(&name).unwrap();
    lab.agent_config(|yaml| yaml["cgroup"] = cgroup.path().to_str().unwrap().into()).unwrap();
    let ca = lab.pki().ca(lb_tests::pki::Signer::Lab);
    let procs = cgroup.procs();
    let url = format!("https://{VIP}/whoami");
    let curl = || {
        let script = r#"echo $$ > "$1" && exec curl -sS --max-time 5 --cacert "$2" "$3""#;
        let words = ["sh", "-c", script, "sh", procs.to_str().unwrap(), ca.to_str().unwrap(), &url];
        lab.node().run(&words).unwrap()
    };
    drop(running(&lab));
    assert!(curl().success().unwrap().contains("name"));
    drop(cgroup);
    // Under the same name, as when a service manager makes the group anew.
    let _anew = Cgroup::new(&name).unwrap();
    assert_ne!(curl().code(), 0, "the links hang on the dead one");
    let _agent = running(&lab);
    assert!(curl().success().unwrap().contains("name"));
    assert_eq!(status(&lab)["dataplane"]["effective"], true);
}

#[test]
fn a_hosts_file_that_somebody_else_rewrites_has_our_entry_again_within_a_second() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let _agent = running(&lab);
    let hosts = lab.hosts_file();
    named(&lab);
    let foreign = "127.0.0.1 localhost\n10.0.0.7 foreign # new\n";
    let renamed = lab.dir().join("hosts.new");
    type Write<'a> = (&'a str, &'a dyn Fn());
    let writes: [Write; 3] = [
        ("written in place", &|| fs::write(&hosts, foreign).unwrap()),
        ("renamed over it", &|| {
            fs::write(&renamed, foreign).unwrap();
            fs::rename(&renamed, &hosts).unwrap();
        }),
        ("removed", &|| fs::remove_file(&hosts).unwrap()),
    ];
    for (what, write) in writes {
        let began = Instant::now();
        write();
        eventually(Duration::from_secs(1), &format!("the entry is back in a file {what}"), || {
            let now = fs::read_to_string(&hosts).unwrap_or_default();
            if now.contains("10.103.97.2") { Ok(()) } else { Err(now) }
        })
        .unwrap();
        figure(&format!("hosts file {what}: repaired after {} ms", began.elapsed().as_millis()));
        let now = fs::read_to_string(&hosts).unwrap();
        assert_eq!(now.contains(foreign), what != "removed", "foreign lines stay: {now}");
    }
}

/// Waits until connects through the VIP work and what was taken is back, for as long as a resync may take.
fn await_repair(lab: &Lab, what: &str, is_back: impl Fn() -> bool) {
    let began = Instant::now();
    eventually(RESYNC + Duration::from_secs(1), what, || {
        let (result, _) = syn(lab.node(), VIP);
        let back = is_back();
        if result == "connected" && back { Ok(()) } else { Err(format!("{result}, is back: {back}")) }
    })
    .unwrap();
    figure(&format!("{what}: repaired after {:.1} s", began.elapsed().as_secs_f64()));
}

fn pinned(lab: &Lab, kind: &str, name: &str) -> std::path::PathBuf {
    lab.pins().join("v1").join(kind).join(name)
}

#[test]
fn a_link_that_somebody_removes_is_back_within_the_resync_time() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let _agent = running(&lab);
    let link = pinned(&lab, "links", "connect4");
    fs::remove_file(&link).unwrap();
    await_repair(&lab, "a removed link", || link.exists());
}

#[test]
fn a_service_that_somebody_deletes_from_the_kernels_map_is_back_within_the_resync_time() {
    let _turn = beside_others();
    let Some(lab) = lab(2) else { return };
    let _agent = running(&lab);
    let vips = pinned(&lab, "maps", "vips");
    forget_first_key(&vips);
    await_repair(&lab, "a deleted map entry", || true);
}

/// Deletes the first entry of a pinned map.
fn forget_first_key(map: &Path) {
    let map = map.to_str().unwrap();
    let first = run(&["bpftool", "-j", "map", "getnext", "pinned", map]).unwrap();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let bytes: Vec<&str> =
        first["next_key"].as_array().unwrap().iter().filter_map(|byte| byte.as_str()).collect();
    run(&[&["bpftool", "map", "delete", "pinned", map, "key"][..], &bytes].concat()).unwrap();
}

#[test]
fn a_read_only_hosts_file_is_reported_and_does_not_stop_the_balancing() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    lab.agent_config(fast).unwrap();
    let hosts = lab.hosts_file();
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let lbctl = binaries::lbctl().unwrap();
    let config = lab.config_file();
    let words = ["--mount", "sh", "-c", script, hosts.to_str().unwrap(), lbctl.to_str().unwrap()];
    let run = ["--config", config.to_str().unwrap(), "run"];
    let process = lab.node().spawn(Path::new("unshare"), &[&words[..], &run].concat()).unwrap();
    eventually(SOON, "the service is reached", || {
        let (result, _) = syn(lab.node(), VIP);
        if result == "connected" { Ok(()) } else { Err(format!("{result}; {}", process.stderr())) }
    })
    .unwrap();
    let shown = eventually(SOON, "status tells of the hosts file", || {
        let shown = status(&lab)["hosts"].clone();
        if shown["error"].is_string() { Ok(shown) } else { Err(shown.to_string()) }
    })
    .unwrap();
    assert_eq!(shown["inPlace"], false, "{shown}");
    assert!(shown["error"].as_str().unwrap().contains("read-only"), "{shown}");
}

#[test]
fn a_bind_mounted_hosts_file_is_written_in_place() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    lab.agent_config(fast).unwrap();
    let hosts = lab.hosts_file();
    let before = fs::read_to_string(&hosts).unwrap();
    let script = r#"mount --bind "$0" "$0" && exec "$@""#;
    let lbctl = binaries::lbctl().unwrap();
    let config = lab.config_file();
    let words = ["unshare", "--mount", "sh", "-c", script, hosts.to_str().unwrap(), lbctl.to_str().unwrap()];
    let with = |command: &[&str]| {
        let run = [&["--config", config.to_str().unwrap()], command].concat();
        lab.node().run(&[&words[..], &run].concat()).unwrap()
    };
    with(&["run", "--once", "--wait", "5s"]).success().unwrap();
    let during = fs::read_to_string(&hosts).unwrap();
    assert!(during.contains("10.103.97.2"), "{during}");
    with(&["cleanup"]).success().unwrap();
    assert_eq!(fs::read_to_string(&hosts).unwrap(), before);
}

#[test]
fn the_admin_socket_is_for_root_alone_and_goes_with_the_agent() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let mut agent: Agent = running(&lab);
    let mode = fs::metadata(lab.admin_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let load = Load::start(&lab, "v4", 1, 1);
    assert_eq!(agent.terminate(SOON).unwrap().code(), 0);
    assert!(!lab.admin_socket().exists());
    load.more(20);
    assert_untouched(&load.stop());
}
