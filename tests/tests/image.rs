//! The container image, in containerd: what a static pod will find.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::agent::unhurried;
use common::load::{Load, assert_untouched, requests};
use common::quiet::beside_others;
use common::{SOON, kubeconfig, lab, list, opened};
use lb_tests::containerd::{Container, Containerd, Mount};
use lb_tests::lab::{HOSTNAME, VIP};
use lb_tests::pki::{Signer, Valid};
use lb_tests::process::Finished;
use lb_tests::wait::eventually;
use lb_tests::{Lab, binaries, preflight, unix_http};
use rustix::process::Signal;
use serde_yaml::Value;

/// Their numbers in linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// A lab and what is in it for a container; `None` only where the user allowed skipping.
fn lab_for_containers(masters: u8) -> Option<Lab> {
    if preflight::ready_for_containers().unwrap() { lab(masters) } else { None }
}

/// containerd with the image, whose name comes with it.
fn containerd(lab: &Lab) -> (Containerd<'_>, String) {
    let containerd = Containerd::start(lab).unwrap();
    let names = containerd.import(&binaries::image().unwrap()).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    (containerd, names.concat())
}

/// The static pod of a lab's node, as `lbctl manifest` writes it, and what of the node it changes.
struct StaticPod {
    hosts: PathBuf,
    admin_socket: PathBuf,
    written: Value,
}

impl StaticPod {
    fn of(lab: &Lab) -> Self {
        Self::with(lab, |_| ())
    }

    fn with(lab: &Lab, change: impl FnOnce(&mut Value)) -> Self {
        let made = |name: &str| {
            let dir = lab.dir().join("of-the-node").join(name);
            fs::create_dir_all(&dir).unwrap();
            dir
        };
        let (hosts, admin_socket) = (made("etc").join("hosts"), made("run").join("lbctl.sock"));
        fs::copy(lab.hosts_file(), &hosts).unwrap();
        let written = lab.agent_config(|yaml| {
            unhurried(yaml);
            yaml["cgroup"] = "auto".into();
            yaml["stateDir"] = made("state").to_str().unwrap().into();
            yaml["hosts"]["path"] = hosts.to_str().unwrap().into();
            yaml["admin"]["socket"] = admin_socket.to_str().unwrap().into();
            change(yaml);
        });
        // Its folder is mounted, which should hold nothing else.
        let config = made("config").join("config.yaml");
        fs::copy(written.unwrap(), &config).unwrap();
        let lbctl = binaries::lbctl().unwrap();
        let words = [lbctl.to_str().unwrap(), "--config", config.to_str().unwrap(), "manifest", "static-pod"];
        let text = lab.node().run(&words).unwrap().success().unwrap();
        Self { hosts, admin_socket, written: serde_yaml::from_str(&text).unwrap() }
    }

    /// The only container, as a kubelet would have containerd run it.
    fn container(&self, name: &str) -> Container {
        let container = &self.written["spec"]["containers"][0];
        let context = &container["securityContext"];
        assert_eq!(
            (&context["privileged"], &context["readOnlyRootFilesystem"]),
            (&false.into(), &true.into())
        );
        let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
        let mebibytes: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
        Container {
            name: name.to_owned(),
            capabilities: texts(&context["capabilities"]["add"]).map(|name| format!("CAP_{name}")).collect(),
            mounts: container["volumeMounts"].as_sequence().unwrap().iter().map(|m| self.mount(m)).collect(),
            more: vec!["--memory-limit".to_owned(), (mebibytes << 20).to_string()],
        }
    }

    fn mount(&self, mount: &Value) -> Mount {
        let volumes = self.written["spec"]["volumes"].as_sequence().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        Mount {
            source: volume["hostPath"]["path"].as_str().unwrap().into(),
            target: mount["mountPath"].as_str().unwrap().into(),
            writable: mount["readOnly"] != true,
        }
    }

    /// What is run, with more arguments: the image's entry point comes first.
    fn command<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let args = texts(&self.written["spec"]["containers"][0]["args"]);
        ["/lbctl"].into_iter().chain(args).chain(more.iter().copied()).collect()
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_sequence().unwrap().iter().map(|text| text.as_str().unwrap())
}

fn once(containerd: &Containerd<'_>, image: &str, pod: &StaticPod, container: &Container) -> Finished {
    let command = pod.command(&["--once", "--wait", "10s"]);
    containerd.run(image, container, &command).unwrap().wait_deadline(Duration::from_secs(30)).unwrap()
}

/// Waits until the agent behind an admin socket has programmed the node, and returns its status.
fn ready(pod: &StaticPod) -> serde_json::Value {
    let ask = |path| unix_http::request(&pod.admin_socket, "GET", path, "");
    eventually(SOON, "the agent in the container is ready", || {
        let response = ask("/readyz").map_err(|error| format!("{error:#}"))?;
        if response.status == 200 { Ok(()) } else { Err(format!("{response:?}")) }
    })
    .unwrap();
    serde_json::from_str(&ask("/v1/status").unwrap().body).unwrap()
}

#[test]
fn the_image_has_its_name_and_holds_the_binary_that_is_tested() {
    let _turn = beside_others();
    let Some(lab) = lab_for_containers(0) else { return };
    let (containerd, image) = containerd(&lab);
    assert!(image.ends_with(concat!("/lbctl:", env!("CARGO_PKG_VERSION"))), "{image}");
    let nothing = Container { name: "version".into(), capabilities: vec![], mounts: vec![], more: vec![] };
    let inside = containerd
        .run(&image, &nothing, &["/usr/bin/lvscare", "version"])
        .unwrap()
        .wait_deadline(SOON)
        .unwrap();
    let outside = lab.node().run(&[binaries::lbctl().unwrap().to_str().unwrap(), "version"]).unwrap();
    assert_eq!(inside.success().unwrap(), outside.success().unwrap());
}

#[test]
fn the_static_pods_container_programs_the_node_and_another_takes_over_without_a_gap() {
    let _turn = beside_others();
    let Some(lab) = lab_for_containers(3) else { return };
    let pod = StaticPod::of(&lab);
    let (containerd, image) = containerd(&lab);

    let done = once(&containerd, &image, &pod, &pod.container("once"));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let report = requests(lab.node(), VIP, "v4", 100);
    assert_eq!((report.ok(), report.failed()), (100, 0), "{report:?}");
    assert!(fs::read_to_string(&pod.hosts).unwrap().contains(HOSTNAME));

    let load = Load::start(&lab, "v4", 4, 3);
    let container = pod.container("agent");
    let mut agent = containerd.run(&image, &container, &pod.command(&[])).unwrap();
    let status = ready(&pod);
    assert_eq!(status["dataplane"]["effective"], true, "{status}");
    let confined = |field| containerd.status(&container, field).unwrap();
    let granted = [CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON].map(|number| 1_u64 << number);
    assert_eq!(confined("CapEff"), format!("{:016x}", granted.into_iter().fold(0, |all, one| all | one)));
    assert_eq!((confined("Seccomp"), confined("NoNewPrivs")), ("2".to_owned(), "1".to_owned()));
    load.more(200);
    assert_untouched(&load.stop());

    lab.master(0).kill().unwrap();
    eventually(SOON, "the dead master is left", || {
        let report = requests(lab.node(), VIP, "v4", 20);
        if report.ok() == 20 && report.served("m1") == 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();

    agent.signal(Signal::TERM).unwrap();
    let ended = agent.wait_deadline(SOON).unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(requests(lab.node(), VIP, "v4", 50).ok(), 50, "the kernel goes on without the container");
}

#[test]
fn the_static_pods_container_follows_the_clusters_list_with_credentials_of_the_node() {
    let _turn = beside_others();
    let Some(lab) = lab_for_containers(2) else { return };
    let [m1, m2] = [0, 1].map(|n| lab.master(n));
    list(&lab, &[m1, m2]);
    // In a folder of their own, as /etc/kubernetes is one; the files that the kubeconfig names lie beside it.
    let folder = lab.dir().join("kubernetes");
    fs::create_dir(&folder).unwrap();
    let identity = lab.pki().issue_kubelets("worker", Valid::Now).unwrap();
    fs::rename(&identity.cert, folder.join("client.crt")).unwrap();
    fs::rename(&identity.key, folder.join("client.key")).unwrap();
    fs::copy(lab.pki().ca(Signer::Lab), folder.join("ca.crt")).unwrap();
    let text = kubeconfig::text("ca.crt".as_ref(), "client.crt".as_ref(), "client.key".as_ref());
    fs::write(folder.join("kubelet.conf"), text).unwrap();
    let pod = StaticPod::with(&lab, |yaml| {
        let service = &mut yaml["services"][0];
        service["backends"] = serde_yaml::to_value([m1.address().to_string()]).unwrap();
        let kubeconfig = folder.join("kubelet.conf");
        service["discovery"]["kubernetes"]["kubeconfig"] = kubeconfig.to_str().unwrap().into();
    });
    let (containerd, image) = containerd(&lab);
    let _agent = containerd.run(&image, &pod.container("agent"), &pod.command(&[])).unwrap();
    let status = ready(&pod);
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    eventually(SOON, "the listed master serves too", || {
        let report = requests(lab.node(), VIP, "v4", 20);
        if report.ok() == 20 && report.served("m2") > 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();
}

#[test]
fn with_scope_node_the_container_serves_pods_and_ends_their_connections_to_a_dead_master() {
    let _turn = beside_others();
    if !preflight::ready_for_containers().unwrap() {
        return;
    }
    let Some(lab) = Lab::builder().masters(1).pod().build_or_skip().unwrap() else { return };
    let pod = StaticPod::with(&lab, |yaml| yaml["scope"] = "node".into());
    let (containerd, image) = containerd(&lab);
    let _agent = containerd.run(&image, &pod.container("agent"), &pod.command(&[])).unwrap();
    let status = ready(&pod);
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    assert_eq!(requests(lab.pod(), VIP, "v4", 20).ok(), 20);
    let watch = lab.pod().spawn_client(&["hold", "--to", VIP]).unwrap();
    opened(&watch);
    // Nobody tells the pod that the power is gone; only who enters its namespace can end its sockets.
    lab.master(0).cut().unwrap();
    eventually(SOON, "the pod's watch ends", || {
        let said = watch.stdout();
        if said.contains("ended ECONNABORTED") { Ok(()) } else { Err(said) }
    })
    .unwrap();
}

#[test]
fn the_true_cgroup_root_is_found_from_a_cgroup_namespace_of_the_containers_own() {
    let _turn = beside_others();
    let Some(lab) = lab_for_containers(1) else { return };
    let pod = StaticPod::of(&lab);
    let (containerd, image) = containerd(&lab);
    // As kubelets have it on hosts with cgroup v2 alone; its root is the node's cgroup.
    let arguments = ["--cgroup", "sleep", "1000"];
    let namespace = lab.node().spawn(std::path::Path::new("unshare"), &arguments).unwrap();
    let mut container = pod.container("once");
    container.more.extend(["--with-ns".into(), format!("cgroup:/proc/{}/ns/cgroup", namespace.pid())]);

    let done = once(&containerd, &image, &pod, &container);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    // Who is not in the container's cgroup is served too.
    let client = binaries::client().unwrap();
    let ca = lab.pki().ca(Signer::Lab);
    let words = ["--tls", "--ca", ca.to_str().unwrap(), "--server-name", HOSTNAME, "connect", "--to", VIP];
    let mut outside = lab.node().spawn_outside(&client, &words).unwrap();
    let report = outside.wait_deadline(SOON).unwrap().success().unwrap();
    assert!(report.contains(r#""m1":1"#), "{report}");
}
