#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_yaml::Value;

use super::*;
use crate::config::{self, Config, Overrides, ServiceConfig};

fn config(more: &str) -> Config {
    let text = format!(
        "{more}\nservices: [{{name: apiserver, vip: '10.103.97.2:6443', hostname: apiserver.cluster.local, \
         backends: ['192.168.0.2:6443', '192.168.0.3:6443']}}]"
    );
    config::load(Some(("test", &text)), &Overrides::default()).unwrap()
}

fn from_file() -> Invocation {
    Invocation { config_file: Some("/etc/lbctl/config.yaml".into()), overrides: Overrides::default() }
}

fn pod(more: &str) -> Value {
    serde_yaml::from_str(&static_pod(&config(more), &from_file(), "lbctl:1")).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// Where on the node a path of the container lies.
fn on_node(pod: &Value, inside: &str) -> Option<String> {
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_sequence().unwrap();
    let mount = mounts.iter().find(|m| inside.starts_with(m["mountPath"].as_str().unwrap()))?;
    let volumes = pod["spec"]["volumes"].as_sequence().unwrap();
    let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
    let rest = inside.strip_prefix(mount["mountPath"].as_str().unwrap()).unwrap();
    Some(format!("{}{rest}", volume["hostPath"]["path"].as_str().unwrap()))
}

#[test]
fn a_pod_has_the_capabilities_of_its_dataplane_and_no_more() {
    for (more, wanted) in [
        ("", &["BPF", "NET_ADMIN", "PERFMON"][..]),
        ("dataplane: socket", &["BPF", "NET_ADMIN", "PERFMON"]),
        ("dataplane: socket\nrescue: off", &["BPF", "NET_ADMIN"]),
        ("dataplane: ipvs", &["NET_ADMIN"]),
        ("dataplane: socket\nscope: node", &["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"]),
        ("dataplane: packet", &["BPF", "NET_ADMIN", "PERFMON", "NET_RAW"]),
        ("dataplane: [socket, packet]", &["BPF", "NET_ADMIN", "PERFMON", "NET_RAW"]),
        ("dataplane: packet\nscope: node", &["BPF", "NET_ADMIN", "PERFMON", "NET_RAW", "SYS_ADMIN"]),
    ] {
        let security = &pod(more)["spec"]["containers"][0]["securityContext"];
        assert_eq!(strings(&security["capabilities"]["add"]), wanted, "{more}");
        assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
        assert_eq!(security["privileged"], Value::Bool(false));
        assert_eq!(security["readOnlyRootFilesystem"], Value::Bool(true));
    }
}

#[test]
fn every_path_that_the_agent_is_told_lies_on_the_node_where_the_config_says() {
    let pod = pod("bpffs: /sys/fs/bpf/a/b\nhosts: {path: /srv/hosts}\nstateDir: /srv/state");
    let args = strings(&pod["spec"]["containers"][0]["args"]);
    let of = |flag: &str| args.iter().find_map(|arg| arg.strip_prefix(flag)).unwrap();
    assert_eq!(on_node(&pod, of("--bpffs=")).unwrap(), "/sys/fs/bpf/a/b");
    assert_eq!(on_node(&pod, of("--hosts-path=")).unwrap(), "/srv/hosts");
    assert_eq!(on_node(&pod, of("--config=")).unwrap(), "/etc/lbctl/config.yaml");
    assert_eq!(on_node(&pod, "/srv/state").unwrap(), "/srv/state");
    assert_eq!(on_node(&pod, "/run/lbctl/lbctl.sock").unwrap(), "/run/lbctl/lbctl.sock");
    assert_eq!(on_node(&pod, "/etc/kubernetes/pki/ca.crt").unwrap(), "/etc/kubernetes/pki/ca.crt");
    assert_eq!(on_node(&pod, "/etc/hosts"), None, "the kubelet's own file");
}

#[test]
fn only_what_is_needed_is_mounted() {
    let ipvs = pod("dataplane: ipvs\nhosts: {manage: false}");
    let names = |pod: &Value| -> Vec<String> {
        let volumes = pod["spec"]["volumes"].as_sequence().unwrap();
        volumes.iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ipvs), ["config", "state", "run", "ca-0"]);
    assert_eq!(names(&pod("dataplane: packet")), ["config", "bpffs", "etc", "state", "run", "ca-0"]);
    assert_eq!(
        names(&pod("dataplane: [socket, packet]")),
        ["config", "bpffs", "cgroup", "etc", "state", "run", "ca-0"]
    );
    assert_eq!(
        names(&pod("scope: node")),
        ["config", "bpffs", "cgroup", "etc", "state", "run", "netns", "ca-0"]
    );
}

/// With `discovery` and an authority, in this spelling of `config.yaml`.
fn discovering(kubeconfig: &str, ca: &str) -> Value {
    let text = format!(
        "services: [{{name: apiserver, vip: '10.103.97.2:6443', backends: ['192.168.0.2:6443'], \
         health: {{type: https, ca: {ca}}}, discovery: {{kubernetes: {{kubeconfig: {kubeconfig}}}}}}}]"
    );
    let config = config::load(Some(("test", &text)), &Overrides::default()).unwrap();
    serde_yaml::from_str(&static_pod(&config, &from_file(), "lbctl:1")).unwrap()
}

#[test]
fn what_discovery_asks_with_is_found_in_the_pod() {
    let pod = discovering("/etc/kubernetes/kubelet.conf", "auto");
    for path in [
        "/etc/kubernetes/kubelet.conf",
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "/etc/kubernetes/pki/ca.crt",
    ] {
        assert_eq!(on_node(&pod, path).as_deref(), Some(path));
    }
    let pod = discovering("/srv/lbctl/kubeconfig", "/etc/lbctl/ca.crt");
    for path in ["/srv/lbctl/kubeconfig", "/srv/lbctl/client.pem", "/etc/lbctl/ca.crt"] {
        assert_eq!(on_node(&pod, path).as_deref(), Some(path));
    }
    assert_eq!(on_node(&pod, "/var/lib/kubelet/pki/key.pem"), None, "nobody asks as the kubelet");
}

#[test]
fn a_config_in_etc_leaves_the_hosts_file_to_the_mount_that_is_writable() {
    let invocation =
        Invocation { config_file: Some("/etc/lbctl.yaml".into()), overrides: Overrides::default() };
    let pod: Value = serde_yaml::from_str(&static_pod(&config(""), &invocation, "lbctl:1")).unwrap();
    let args = strings(&pod["spec"]["containers"][0]["args"]);
    assert!(args.contains(&"--hosts-path=/host/etc/hosts"), "{args:?}");
}

#[test]
fn folders_that_are_one_are_mounted_once_and_can_be_written_to() {
    for more in [
        "stateDir: /var/lib/lbctl\nadmin: {socket: /var/lib/lbctl/lbctl.sock}",
        "stateDir: /etc/lbctl\nadmin: {socket: /etc/lbctl/lbctl.sock}",
    ] {
        let pod = pod(more);
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_sequence().unwrap();
        let folder = if more.contains("/etc/lbctl") { "/etc/lbctl" } else { "/var/lib/lbctl" };
        let there: Vec<_> = mounts.iter().filter(|mount| mount["mountPath"] == folder).collect();
        assert_eq!(there.len(), 1, "{more}");
        assert_ne!(there[0]["readOnly"], true, "{more}");
    }
}

#[test]
fn nothing_is_mounted_twice() {
    for (kubeconfig, ca) in [
        ("/etc/kubernetes/kubelet.conf", "auto"),
        ("/etc/lbctl/kubeconfig", "/etc/lbctl/ca.crt"),
        ("/etc/kubernetes/pki/kubeconfig", "auto"),
    ] {
        let pod = discovering(kubeconfig, ca);
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_sequence().unwrap();
        let mut names: Vec<_> = mounts.iter().map(|mount| mount["name"].as_str().unwrap()).collect();
        let mut paths: Vec<_> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        names.sort_unstable();
        paths.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{paths:?}");
    }
}

#[test]
fn a_pod_is_probed_over_the_metrics_port_or_by_its_own_command() {
    let get = |more: &str| pod(more)["spec"]["containers"][0]["livenessProbe"].clone();
    assert_eq!(get("")["httpGet"]["host"], "127.0.0.1");
    assert_eq!(get("metrics: {listen: '0.0.0.0:9000'}")["httpGet"]["host"], "127.0.0.1");
    assert_eq!(get("metrics: {listen: '[::]:9000'}")["httpGet"]["host"], "::1");
    assert_eq!(strings(&get("metrics: {listen: 'off'}")["exec"]["command"])[..2], ["/lbctl", "status"]);
}

#[test]
fn without_a_file_the_flags_are_in_the_pod() {
    let overrides = Overrides {
        vip: Some("10.103.97.2:6443".to_owned()),
        backends: vec!["192.168.0.2:6443".to_owned(), "192.168.0.3:6443".to_owned()],
        hosts_path: Some("/srv/hosts".to_owned()),
        health_expect: vec![200, 401],
        ..Overrides::default()
    };
    let config = config::load(None, &overrides).unwrap();
    let text = static_pod(&config, &Invocation { config_file: None, overrides }, "lbctl:1");
    let pod: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(
        strings(&pod["spec"]["containers"][0]["args"]),
        [
            "run",
            "--vip=10.103.97.2:6443",
            "--backend=192.168.0.2:6443",
            "--backend=192.168.0.3:6443",
            "--health-expect=200,401",
            "--bpffs=/host/bpf/lbctl",
            "--hosts-path=/host/etc/hosts",
        ]
    );
}

#[test]
fn an_image_or_a_path_that_looks_like_yaml_stays_what_it_is() {
    let hostile = "a: {b\n# \"c\"";
    let text = static_pod(&config(""), &from_file(), hostile);
    let pod: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["image"], hostile);
}

#[test]
fn kubeadms_certificates_carry_every_name_that_apiservers_are_reached_by() {
    let text = kubeadm(&config("")).unwrap();
    let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
        .map(|d| serde::Deserialize::deserialize(d).unwrap())
        .collect();
    let names = ["apiserver.cluster.local", "10.103.97.2", "192.168.0.2", "192.168.0.3"];
    assert_eq!(strings(&documents[0]["apiServer"]["certSANs"]), names);
    assert_eq!(documents[0]["controlPlaneEndpoint"], "apiserver.cluster.local:6443");
    let token = &documents[1]["discovery"]["bootstrapToken"];
    assert_eq!(token["apiServerEndpoint"], "apiserver.cluster.local:6443");
    assert!(text.contains(&names.join(",")), "what NO_PROXY needs");
}

#[test]
fn services_get_a_range_without_the_virtual_address_where_kubeadms_own_has_it() {
    let networking = |vip: &str| {
        let config = config("");
        let text = kubeadm(&Config {
            services: vec![ServiceConfig { vip: vip.parse().unwrap(), ..config.services[0].clone() }],
            ..config
        });
        let text = text.unwrap();
        let first = serde_yaml::Deserializer::from_str(&text).next().unwrap();
        <Value as serde::Deserialize>::deserialize(first).unwrap()["networking"].clone()
    };
    assert_eq!(networking("10.103.97.2:6443")["serviceSubnet"], "10.96.0.0/16");
    assert_eq!(networking("10.96.97.2:6443")["serviceSubnet"], "10.97.0.0/16");
    assert_eq!(networking("10.112.0.2:6443"), Value::Null);
    assert_eq!(networking("192.168.96.2:6443"), Value::Null);
}

#[test]
fn a_unit_quotes_what_systemd_would_read_otherwise() {
    let odd = Invocation { config_file: Some("/etc/a b/50%/$x\"".into()), overrides: Overrides::default() };
    let text = systemd(&config(""), &odd, "/usr/local/bin/lbctl".as_ref());
    let command = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert_eq!(command, r#"ExecStart=/usr/local/bin/lbctl run "--config=/etc/a b/50%%/$$x\"""#);
    let check = text.lines().find(|line| line.starts_with("ExecReload=")).unwrap();
    assert_eq!(check, r#"ExecReload=/usr/local/bin/lbctl check "--config=/etc/a b/50%%/$$x\"""#);
}

#[test]
fn a_unit_starts_before_the_kubelet_and_waits_until_the_node_is_programmed() {
    let text = systemd(&config(""), &from_file(), "/usr/local/bin/lbctl".as_ref());
    for line in
        ["Before=kubelet.service", "Type=notify", "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON"]
    {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn a_unit_may_look_into_every_process_where_it_serves_pods() {
    for (more, wanted) in [
        ("dataplane: ipvs", "CapabilityBoundingSet=CAP_NET_ADMIN"),
        (
            "scope: node",
            "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_SYS_ADMIN CAP_SYS_PTRACE",
        ),
        ("dataplane: packet", "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_NET_RAW"),
    ] {
        let text = systemd(&config(more), &from_file(), "/usr/local/bin/lbctl".as_ref());
        assert!(text.lines().any(|line| line == wanted), "{wanted} in\n{text}");
    }
}

#[test]
fn until_the_pod_runs_the_kubelets_connects_fail_at_once() {
    let text = kubelet_dropin(&config(""));
    assert!(
        text.ends_with("[Service]\nExecStartPre=-/sbin/ip route replace unreachable 10.103.97.2/32\n"),
        "{text}"
    );
}

#[test]
fn permissions_are_two_documents_that_fit_each_other() {
    let documents: Vec<Value> = serde_yaml::Deserializer::from_str(rbac())
        .map(|d| serde::Deserialize::deserialize(d).unwrap())
        .collect();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1]["roleRef"]["name"], documents[0]["metadata"]["name"]);
    assert_eq!(documents[0]["metadata"]["namespace"], "default", "where the cluster lists its apiservers");
}

/// What Kubernetes' own types make of a document: a field that they do not know is lost.
fn as_kubernetes_reads<T: serde::Serialize + serde::de::DeserializeOwned>(document: &Value) -> Value {
    let read: T = serde_yaml::from_value(document.clone()).unwrap();
    serde_yaml::to_value(read).unwrap()
}

#[test]
fn kubernetes_knows_every_field_that_is_written() {
    use k8s_openapi::api::{core::v1::Pod, rbac::v1};
    for more in ["", "dataplane: ipvs", "dataplane: packet", "scope: node", "metrics: {listen: 'off'}"] {
        let pod = pod(more);
        assert_eq!(as_kubernetes_reads::<Pod>(&pod), pod, "{more}");
    }
    let documents: Vec<Value> = serde_yaml::Deserializer::from_str(rbac())
        .map(|d| serde::Deserialize::deserialize(d).unwrap())
        .collect();
    assert_eq!(as_kubernetes_reads::<v1::Role>(&documents[0]), documents[0]);
    assert_eq!(as_kubernetes_reads::<v1::RoleBinding>(&documents[1]), documents[1]);
}

/// `lbctl manifest KIND -c /etc/lbctl/config.yaml`, with the example there.
#[test]
fn the_examples_in_the_repository_are_what_is_printed() {
    let text = include_str!("../../../manifests/config.yaml");
    let config = config::load(Some(("config.yaml", text)), &Overrides::default()).unwrap();
    let image = concat!("lbctl:", env!("CARGO_PKG_VERSION"));
    let examples = [
        ("static-pod.yaml", static_pod(&config, &from_file(), image)),
        ("lbctl.service", systemd(&config, &from_file(), "/usr/local/bin/lbctl".as_ref())),
        ("kubelet-dropin.conf", kubelet_dropin(&config)),
        ("kubeadm.yaml", kubeadm(&config).unwrap()),
        ("rbac.yaml", rbac().to_owned()),
    ];
    for (name, printed) in examples {
        let path = format!("{}/../manifests/{name}", env!("CARGO_MANIFEST_DIR"));
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, printed, "write manifests/{name} anew with `lbctl manifest`");
    }
}
