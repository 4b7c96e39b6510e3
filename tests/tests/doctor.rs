//! `lbctl doctor` on a node that is well, and on nodes with one thing wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::agent::{named, running};
use common::lab;
use common::load::figure;
use common::quiet::{alone, beside_others};
use common::traces::Traces;
use lb_tests::lab::{HOSTNAME, VIP};
use lb_tests::pki::Signer;
use lb_tests::process::Finished;
use lb_tests::{Lab, binaries};
use serde_json::Value;

/// Three backends that do not answer take 3 s together; loading the programs some 100 ms, in an emulated VM seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// A host's files, apart from those of the machine that the test runs on.
fn host(lab: &Lab) -> PathBuf {
    let root = lab.dir().join("logs/root");
    for directory in ["proc", "sys/module/ip_vs", "sys/module/ip_vs_wrr", "sys/module/nf_tables"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let manifest = |flags: &str| format!("spec:\n  containers:\n  - command: [program, {flags}]\n");
    let ranges = "--service-cluster-ip-range=10.96.0.0/16, --cluster-cidr=10.244.0.0/16";
    put(&root, "etc/kubernetes/manifests/kube-controller-manager.yaml", &manifest(ranges));
    put(&root, "etc/nsswitch.conf", "hosts: files dns\n");
    root
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What it says, and its exit code. Without the proxies of whoever runs the test.
fn doctor(lab: &Lab, root: &Path) -> (Value, i32) {
    doctor_with(lab, root, &[])
}

fn doctor_with(lab: &Lab, root: &Path, environment: &[&str]) -> (Value, i32) {
    let config = lab.config_file();
    if !config.exists() {
        lab.agent_config(|_| ()).unwrap();
    }
    let without = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut words: Vec<&str> = without.iter().flat_map(|name| ["-u", name]).collect();
    words.extend(environment);
    let lbctl = binaries::lbctl().unwrap();
    words.extend([lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "doctor", "-o", "json"]);
    words.extend(["--root", root.to_str().unwrap()]);
    let ended = lab.node().spawn(Path::new("env"), &words).unwrap().wait_deadline(DEADLINE).unwrap();
    report(&ended)
}

fn report(ended: &Finished) -> (Value, i32) {
    (serde_json::from_str(&ended.stdout).unwrap(), ended.code())
}

/// Severities and messages of the findings with a code.
fn of<'a>(report: &'a Value, code: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == code);
    findings.map(|f| (f["severity"].as_str().unwrap(), f["message"].as_str().unwrap())).collect()
}

/// Severity and message of the only finding with a code.
fn only<'a>(report: &'a Value, code: &str) -> (&'a str, &'a str) {
    let found = of(report, code);
    assert_eq!(found.len(), 1, "{code}: {found:?}");
    found[0]
}

#[test]
fn on_a_node_that_is_well_nothing_fails_and_nothing_is_changed() {
    // `Traces` shows every lab's links.
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let root = host(&lab);
    let _agent = running(&lab);
    named(&lab);
    let before = Traces::of(&lab);
    let began = std::time::Instant::now();
    let (report, code) = doctor(&lab, &root);
    figure(&format!("doctor beside an agent: {:.2?}, {}", began.elapsed(), report["summary"]));
    assert_eq!(Traces::of(&lab), before, "doctor only looks");
    let worse: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|f| f["severity"] != "ok").collect();
    assert!(worse.is_empty() && code == 0, "exit code {code}: {worse:#?}");
    for code in
        ["CONFIG", "AGENT", "DATAPLANE", "SOCKET-KERNEL", "CGROUP-ROOT", "BPFFS", "HOSTS-ENTRY", "PROXY"]
    {
        assert_eq!(only(&report, code).0, "ok", "{code}: {report:#}");
    }
    assert_eq!(only(&report, "HOOK-FOREIGN"), ("ok", "no programs of others"));
    let effect = of(&report, "HOOK-EFFECT");
    let steered = |(severity, message): &(&str, &str)| {
        *severity == "ok"
            && lab.masters().iter().any(|m| message.ends_with(&format!("goes to {}", m.address())))
    };
    assert!(effect.iter().any(steered), "{effect:?}");
    for code in ["CERT-NAMES", "CERT-EXPIRY", "CLOCK-SKEW", "BACKEND"] {
        let found = of(&report, code);
        assert!(found.len() == 3 && found.iter().all(|(severity, _)| *severity == "ok"), "{code}: {found:?}");
    }
}

#[test]
fn before_the_first_start_doctor_tells_what_is_missing_and_nothing_fails() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    let (report, code) = doctor(&lab, &root);
    assert_eq!((&report["summary"]["fail"], code), (&0.into(), 0), "{report:#}");
    assert_eq!(only(&report, "AGENT").0, "warn");
    assert_eq!(only(&report, "HOSTS-ENTRY").0, "warn");
    assert_eq!(only(&report, "HOOK-EFFECT"), ("ok", "nothing is programmed on this node yet"));
    assert!(!lab.pins().exists(), "nothing is pinned");
}

#[test]
fn a_certificate_without_the_vip_is_named_and_one_without_the_name_fails() {
    let _turn = beside_others();
    let Some(lab) = Lab::builder().masters(2).not_started().build_or_skip().unwrap() else { return };
    let root = host(&lab);
    for (master, name) in [(0, HOSTNAME), (1, "kubernetes")] {
        let master = lab.master(master);
        let sans = [name.to_owned(), master.host().v4().to_string()];
        lab.pki().issue(Signer::Lab, master.name(), &sans).unwrap();
        master.start().unwrap();
    }
    let (report, code) = doctor(&lab, &root);
    let found = of(&report, "CERT-NAMES");
    let (first, second) = (lab.master(0).address().to_string(), lab.master(1).address().to_string());
    let about = |address: &str| found.iter().copied().find(|(_, message)| message.contains(address)).unwrap();
    let (severity, message) = about(&first);
    assert!(severity == "warn" && message.contains("does not have the address 10.103.97.2"), "{message}");
    let (severity, message) = about(&second);
    assert!(severity == "fail" && message.contains("has neither apiserver.cluster.local nor"), "{message}");
    assert_eq!(code, 1, "{report:#}");
}

#[test]
fn programs_of_others_on_the_same_hooks_are_named() {
    let _turn = alone();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    // Another lbctl's, pinned elsewhere: not ours.
    lab.agent_config(|yaml| {
        yaml["bpffs"] = lab.pins().with_file_name("foreign").to_str().unwrap().into();
        yaml["services"][0]["vip"] = "10.103.97.9:6443".into();
        yaml["hosts"]["manage"] = false.into();
    })
    .unwrap();
    lab.lbctl(&["run", "--once", "--wait", "10s"]).unwrap().success().unwrap();
    lab.agent_config(|_| ()).unwrap();
    let (report, code) = doctor(&lab, &root);
    let (severity, message) = only(&report, "HOOK-FOREIGN");
    assert_eq!((severity, code), ("warn", 0), "{message}");
    assert!(message.contains("lbctl_connect4 on connect4 (id "), "{message}");
}

#[test]
fn another_line_for_our_name_in_the_hosts_file_is_quoted() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    let line = format!("192.168.77.99 {HOSTNAME}");
    let before = fs::read_to_string(lab.hosts_file()).unwrap();
    fs::write(lab.hosts_file(), format!("{line}\n{before}")).unwrap();
    let (report, _) = doctor(&lab, &root);
    let (severity, message) = only(&report, "HOSTS-FOREIGN");
    assert!(severity == "warn" && message.contains(&line), "{message}");
}

#[test]
fn a_proxy_without_exceptions_for_the_vip_is_found_in_the_environment_and_in_kubelets_unit() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    let proxy = "HTTPS_PROXY=http://me:secret@proxy.example.com:3128";
    let (report, code) = doctor_with(&lab, &root, &[proxy, "NO_PROXY=localhost"]);
    let (severity, message) = only(&report, "PROXY");
    assert_eq!((severity, code), ("warn", 0), "{message}");
    assert!(message.contains("NO_PROXY lacks 10.103.97.2, apiserver.cluster.local"), "{message}");
    assert!(!report.to_string().contains("secret"), "{message}");

    let unit = "etc/systemd/system/kubelet.service.d/proxy.conf";
    put(&root, unit, &format!("[Service]\nEnvironment=\"{proxy}\"\n"));
    let (report, code) = doctor(&lab, &root);
    assert_eq!((only(&report, "PROXY").0, code), ("fail", 1), "{report:#}");

    put(&root, unit, &format!("[Service]\nEnvironment=\"{proxy}\" NO_PROXY=10.96.0.0/12,.cluster.local\n"));
    let (report, code) = doctor(&lab, &root);
    assert_eq!((only(&report, "PROXY").0, code), ("ok", 0), "{report:#}");
}

#[test]
fn a_hook_that_this_process_does_not_pass_through_is_told() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    lab.lbctl(&["run", "--once", "--wait", "10s"]).unwrap().success().unwrap();
    let (report, _) = doctor(&lab, &root);
    let (severity, message) = only(&report, "HOOK-EFFECT");
    let expected = format!("a connect to {VIP} goes to {}", lab.master(0).address());
    assert_eq!((severity, message), ("ok", expected.as_str()));

    let (lbctl, config) = (binaries::lbctl().unwrap(), lab.config_file());
    let words =
        ["--config", config.to_str().unwrap(), "doctor", "-o", "json", "--root", root.to_str().unwrap()];
    let ended = lab.node().spawn_outside(&lbctl, &words).unwrap().wait_deadline(DEADLINE).unwrap();
    let (report, _) = self::report(&ended);
    let (severity, message) = only(&report, "HOOK-EFFECT");
    assert!(severity == "warn" && message.contains("fails"), "{message}");
}

#[test]
fn without_a_config_and_with_a_wrong_one_the_rest_is_told_all_the_same() {
    let _turn = beside_others();
    let Some(lab) = lab(0) else { return };
    let root = host(&lab);
    let lbctl = binaries::lbctl().unwrap();
    let words = |config: &str| {
        let shell = format!(
            "exec {} {config} doctor -o yaml --root {} --admin-socket {}",
            lbctl.display(),
            root.display(),
            lab.admin_socket().display()
        );
        lab.node().run(&["sh", "-c", &shell]).unwrap()
    };
    let ended = words("");
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("code: CONFIG\n  severity: warn"), "{}", ended.stdout);
    assert!(ended.stdout.contains("code: SOCKET-KERNEL\n  severity: ok"), "{}", ended.stdout);

    let wrong = lab.dir().join("wrong.yaml");
    fs::write(&wrong, "services: []\nnonsense: 1\n").unwrap();
    let ended = words(&format!("--config {}", wrong.display()));
    assert_eq!(ended.code(), 2, "{ended:?}");
    assert!(ended.stdout.contains("code: CONFIG\n  severity: fail"), "{}", ended.stdout);
    assert!(ended.stdout.contains("nonsense"), "{}", ended.stdout);
    assert!(ended.stdout.contains("code: SOCKET-KERNEL\n  severity: ok"), "{}", ended.stdout);
}

#[test]
fn the_table_has_remedies_and_a_count() {
    let _turn = beside_others();
    let Some(lab) = lab(1) else { return };
    let root = host(&lab);
    let ended = lab.lbctl(&["doctor", "--root", root.to_str().unwrap()]).unwrap();
    assert!(ended.stdout.starts_with("SEVERITY  CODE"), "{}", ended.stdout);
    assert!(ended.stdout.contains("-> start `lbctl run`"), "{}", ended.stdout);
    assert!(ended.stdout.trim_end().ends_with("0 fail"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "", "progress is for terminals");
}
