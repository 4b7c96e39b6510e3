//! Whether this machine can run a lab.

use anyhow::bail;

use crate::lab::Dataplane;
use crate::{binaries, cgroup, slowness};

/// Set to 1 to let tests that cannot run here pass as skipped, instead of failing.
pub const ALLOW_SKIP: &str = "LBCTL_TEST_ALLOW_SKIP";
/// A command, and the Debian package that brings it.
type Tool = (&'static str, &'static str);
const TOOLS: [Tool; 9] = [
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("tc", "iproute2"),
    ("ethtool", "ethtool"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("nft", "nftables"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
];
/// What looks at IPVS beside lbctl.
const IPVS_TOOLS: [Tool; 1] = [("ipvsadm", "ipvsadm")];
/// What runs the container image.
const CONTAINER_TOOLS: [Tool; 3] = [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc")];

/// Kubernetes' own client.
const KUBECTL: [Tool; 1] = [("kubectl", "kubernetes-client")];

/// What is missing, each with its remedy; empty when a lab for `dataplane` can be built.
#[must_use]
pub fn missing(dataplane: Dataplane) -> Vec<String> {
    let mut missing = Vec::from_iter(slowness::mistake());
    if !rustix::process::geteuid().is_root() {
        missing.push("root (network namespaces, cgroups and bpffs need it; hint: run under sudo)".into());
    }
    let more: &[Tool] = if dataplane.may_be_ipvs() { &IPVS_TOOLS } else { &[] };
    missing.extend(missing_of(TOOLS.iter().chain(more)));
    if let Err(error) = cgroup::root() {
        missing.push(format!("cgroup v2 ({error:#})"));
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !file_systems.lines().any(|line| line.trim_start_matches("nodev").trim() == "bpf") {
        missing.push("bpffs (hint: a kernel with CONFIG_BPF_SYSCALL)".into());
    }
    for binary in [binaries::standin(), binaries::client()] {
        if let Err(error) = binary {
            missing.push(format!("{error:#}"));
        }
    }
    missing
}

/// Whether a test may go on: `true` when nothing is missing, `false` when it is to be skipped on the user's word.
///
/// # Errors
/// When something is missing and `LBCTL_TEST_ALLOW_SKIP` is not 1: says what.
pub fn ready(dataplane: Dataplane) -> anyhow::Result<bool> {
    decide(&missing(dataplane))
}

/// As [`ready`], for what is needed beside a lab to run the container image.
///
/// # Errors
/// As [`ready`].
pub fn ready_for_containers() -> anyhow::Result<bool> {
    let mut missing = Vec::from_iter(missing_of(CONTAINER_TOOLS.iter()));
    missing.extend(binaries::image().err().map(|error| format!("{error:#}")));
    decide(&missing)
}

/// As [`ready`], for what is needed beside a lab to run kubectl in it.
///
/// # Errors
/// As [`ready`].
pub fn ready_for_kubectl() -> anyhow::Result<bool> {
    decide(&Vec::from_iter(missing_of(KUBECTL.iter())))
}

fn decide(missing: &[String]) -> anyhow::Result<bool> {
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join("; ");
    if std::env::var(ALLOW_SKIP).is_ok_and(|value| value == "1") {
        eprintln!("SKIPPED: this machine lacks {missing}");
        return Ok(false);
    }
    bail!("this machine lacks {missing}; set {ALLOW_SKIP}=1 to skip instead of fail")
}

fn missing_of<'a>(tools: impl Iterator<Item = &'a Tool>) -> impl Iterator<Item = String> {
    let missing = tools.filter(|(tool, _)| !in_path(tool));
    missing.map(|(tool, package)| format!("{tool} (hint: apt-get install {package})"))
}

fn in_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}
