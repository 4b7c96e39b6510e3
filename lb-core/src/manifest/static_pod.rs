use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    Invocation, capabilities,
    invocation::shown,
    may_use_cgroup,
    pod::{
        Action, Capabilities, Container, HostPath, Metadata, Pod, PodSpec, Probe, Resources, SeccompProfile,
        SecurityContext, Volume, VolumeMount,
    },
    yaml,
};
use crate::{
    config::{Config, KUBELETS_KUBECONFIG, ServiceConfig},
    model::{DataplaneKind, Scope},
    probe::{CLUSTER_CA, Ca, CheckKind},
};

/// Where the kernel's file system for pinned programs is on a node, bpf(2).
const BPFFS: &str = "/sys/fs/bpf";
/// Where control groups are on a node, cgroups(7); on a hybrid host version 2 is a directory below.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Where container runtimes name pods' network namespaces, ip-netns(8).
const NAMESPACES: &str = "/run/netns";
/// Names of mounts that lie elsewhere in the container than on the node.
const PINS: &str = "bpffs";
const HOSTS: &str = "etc";
/// Where the certificates lie that a kubelet's kubeconfig names (kubelet's --cert-dir).
const KUBELETS_CERTIFICATES: &str = "/var/lib/kubelet/pki";

const HEADER: &str = "\
# The lbctl agent as a static pod: a file for the kubelet's staticPodPath, /etc/kubernetes/manifests with kubeadm.
# Written by `lbctl manifest static-pod`.
#
# After a reboot nothing maps the virtual address until this pod runs. So that the kubelet's connects fail at once until
# then, instead of hanging, install what `lbctl manifest kubelet-dropin` prints.
";

const CREDENTIALS_NOTE: &str = "\
#
# The kubeconfig is found at the same path as on the node. Of the files that it names those in its own folder are found, and
# with the kubelet's kubeconfig those in /var/lib/kubelet/pki.
";

/// The agent as a static pod. Without privileges but the capabilities of its dataplane.
pub fn static_pod(config: &Config, invocation: &Invocation, image: &str) -> String {
    let mounts = mounts(config, invocation);
    let ipvs = if config.names(DataplaneKind::Ipvs) { ipvs_note(config.scope) } else { String::new() };
    let discovers = config.services.iter().any(|service| service.discovery.is_some());
    let credentials = if discovers { CREDENTIALS_NOTE } else { "" };
    let pod = Pod {
        api_version: "v1",
        kind: "Pod",
        metadata: Metadata {
            name: "lbctl",
            namespace: "kube-system",
            labels: [("app.kubernetes.io/name", "lbctl")].into(),
        },
        spec: PodSpec {
            host_network: true,
            priority_class_name: "system-node-critical",
            automount_service_account_token: false,
            enable_service_links: false,
            termination_grace_period_seconds: 5,
            containers: [container(config, invocation, image, &mounts)],
            volumes: mounts.iter().map(Mount::volume).collect(),
        },
    };
    format!("{HEADER}{ipvs}{credentials}{}", yaml(&pod))
}

fn ipvs_note(scope: Scope) -> String {
    let more = match scope {
        Scope::Host => "",
        Scope::Node => "# net.ipv4.vs.conntrack=1\n",
    };
    format!(
        "\
#
# For IPVS the node needs beforehand, since /proc/sys is read-only in the container and modules cannot be loaded there:
# ip_vs and ip_vs_wrr in /etc/modules-load.d, and in /etc/sysctl.d
# net.ipv4.vs.expire_nodest_conn=1
# net.ipv4.vs.conn_reuse_mode=1
{more}"
    )
}

fn container(config: &Config, invocation: &Invocation, image: &str, mounts: &[Mount]) -> Container {
    // Other paths than the node's: the default AppArmor profile of container runtimes forbids to write below /sys,
    // and the kubelet puts a file of its own at /etc/hosts.
    let moved = [
        ("bpffs", inside(&config.bpffs, PINS, mounts)),
        ("hosts-path", inside(&config.hosts.path, HOSTS, mounts)),
    ];
    Container {
        name: "lbctl",
        image: image.to_owned(),
        image_pull_policy: "IfNotPresent",
        args: invocation.args("run", &moved),
        resources: Resources {
            requests: [("cpu", "10m"), ("memory", "16Mi")].into(),
            limits: [("memory", "64Mi")].into(),
        },
        security_context: SecurityContext {
            privileged: false,
            allow_privilege_escalation: false,
            read_only_root_filesystem: true,
            run_as_user: 0,
            run_as_group: 0,
            capabilities: Capabilities { drop: ["ALL"], add: capabilities(config) },
            seccomp_profile: SeccompProfile { kind: "RuntimeDefault" },
        },
        liveness_probe: probe(config, "/healthz"),
        readiness_probe: probe(config, "/readyz"),
        volume_mounts: mounts.iter().map(Mount::volume_mount).collect(),
    }
}

/// Over the metrics' port, or by the agent's own command where there is none.
fn probe(config: &Config, path: &'static str) -> Probe {
    let action = match config.metrics {
        Some(listen) => Action::HttpGet { host: reached_at(listen).to_string(), port: listen.port(), path },
        None => Action::Exec {
            command: vec![
                "/lbctl".to_owned(),
                "status".to_owned(),
                format!("--admin-socket={}", shown(&config.admin_socket)),
            ],
        },
    };
    Probe { action, period_seconds: 10, timeout_seconds: 2, failure_threshold: 3 }
}

/// Who listens everywhere is reached on loopback.
fn reached_at(listen: SocketAddr) -> IpAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A directory or file of the node that the agent needs.
struct Mount {
    name: String,
    host: PathBuf,
    inside: PathBuf,
    access: Access,
}

enum Access {
    /// Made where it is missing.
    Own,
    Write,
    Read,
    ReadFile,
    /// What the node mounts there later is seen too.
    Follow,
}

impl Mount {
    fn new(
        name: impl Into<String>,
        host: impl Into<PathBuf>,
        inside: impl Into<PathBuf>,
        access: Access,
    ) -> Self {
        Self { name: name.into(), host: host.into(), inside: inside.into(), access }
    }

    /// At the same path as on the node.
    fn same(name: impl Into<String>, host: &Path, access: Access) -> Self {
        Self::new(name, host, host, access)
    }

    fn volume(&self) -> Volume {
        let kind = match self.access {
            Access::Own | Access::Follow => "DirectoryOrCreate",
            Access::Write | Access::Read => "Directory",
            Access::ReadFile => "File",
        };
        Volume { name: self.name.clone(), host_path: HostPath { path: shown(&self.host), kind } }
    }

    fn volume_mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.name.clone(),
            mount_path: shown(&self.inside),
            read_only: match self.access {
                Access::Own | Access::Write => false,
                Access::Read | Access::ReadFile | Access::Follow => true,
            },
            mount_propagation: matches!(self.access, Access::Follow).then_some("HostToContainer"),
        }
    }
}

fn mounts(config: &Config, invocation: &Invocation) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if let Some(folder) = invocation.config_file.as_deref().and_then(Path::parent) {
        // The folder, so that a file that is replaced is seen.
        mounts.push(Mount::same("config", folder, Access::Read));
    }
    if !config.names(DataplaneKind::Ipvs) {
        mounts.push(Mount::new(PINS, bpffs_root(&config.bpffs), "/host/bpf", Access::Write));
    }
    if may_use_cgroup(config) {
        mounts.push(match &config.cgroup {
            Some(named) => Mount::same("cgroup", named, Access::Write),
            None => Mount::new("cgroup", CGROUPS, "/host/cgroup", Access::Read),
        });
    }
    if config.hosts.manage {
        // The folder, so that the file can be replaced, and one that somebody else has put in its place is seen.
        mounts.push(Mount::new(HOSTS, folder_of(&config.hosts.path), "/host/etc", Access::Write));
    }
    add_own(&mut mounts, Mount::same("state", &config.state_dir, Access::Own));
    add_own(&mut mounts, Mount::same("run", folder_of(&config.admin_socket), Access::Own));
    if config.scope == Scope::Node {
        mounts.push(Mount::new("netns", NAMESPACES, NAMESPACES, Access::Follow));
    }
    add_uncovered(&mut mounts, "credentials", credentials(config), || Access::Read);
    add_uncovered(&mut mounts, "ca", authorities(config), || Access::ReadFile);
    mounts
}

/// In the place of what is mounted there already: a path is mounted once, and is to be written to.
fn add_own(mounts: &mut Vec<Mount>, own: Mount) {
    match mounts.iter_mut().find(|mount| mount.inside == own.inside) {
        Some(mount) => mount.access = own.access,
        None => mounts.push(own),
    }
}

/// Those that do not lie in what is mounted already.
fn add_uncovered(mounts: &mut Vec<Mount>, name: &str, paths: BTreeSet<PathBuf>, access: fn() -> Access) {
    let covers = |mount: &Mount, path: &Path| mount.host == mount.inside && path.starts_with(&mount.host);
    let known = mounts.len();
    for path in paths {
        if !mounts.iter().any(|mount| covers(mount, &path)) {
            mounts.push(Mount::same(format!("{name}-{}", mounts.len() - known), &path, access()));
        }
    }
}

/// The folders with what discovery asks with: folders, since kubelets replace their certificates.
fn credentials(config: &Config) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for discovery in config.services.iter().filter_map(|service| service.discovery.as_ref()) {
        folders.insert(folder_of(&discovery.kubeconfig).to_owned());
        if discovery.kubeconfig == Path::new(KUBELETS_KUBECONFIG) {
            folders.insert(KUBELETS_CERTIFICATES.into());
        }
    }
    folders
}

/// The files with the authorities that probes trust.
fn authorities(config: &Config) -> BTreeSet<PathBuf> {
    let of = |service: &ServiceConfig| match &service.health.kind {
        CheckKind::Https(_, tls) => match &tls.ca {
            Ca::Auto => Some(CLUSTER_CA.into()),
            Ca::File(path) => Some(path.clone()),
            Ca::Insecure => None,
        },
        CheckKind::Tcp | CheckKind::Http(_) => None,
    };
    config.services.iter().filter_map(of).collect()
}

/// The mount that pins lie in: the node's, or the folder above a path that is elsewhere.
fn bpffs_root(pins: &Path) -> &Path {
    if pins.starts_with(BPFFS) { Path::new(BPFFS) } else { folder_of(pins) }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Where the container sees a path of the node by the mount that is meant for it.
fn inside(path: &Path, name: &str, mounts: &[Mount]) -> String {
    let meant = mounts.iter().find(|mount| mount.name == name);
    let seen = meant.and_then(|mount| Some(mount.inside.join(path.strip_prefix(&mount.host).ok()?)));
    shown(seen.as_deref().unwrap_or(path))
}
