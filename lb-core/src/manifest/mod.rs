//! Ready files for nodes and clusters, from the configuration that the agent runs on. Text out of data, nothing else.

mod invocation;
mod kubeadm;
mod kubelet;
mod pod;
mod rbac;
mod static_pod;
mod systemd;
#[cfg(test)]
mod tests;

pub use invocation::Invocation;
pub use kubeadm::kubeadm;
pub use kubelet::kubelet_dropin;
pub use rbac::rbac;
pub use static_pod::static_pod;
pub use systemd::systemd;

use crate::{
    config::Config,
    model::{DataplaneKind, Scope},
};

/// A capability, capabilities(7), without its `CAP_`.
type Capability = &'static str;

/// What the agent needs for the dataplane that the configuration chooses.
fn capabilities(config: &Config) -> Vec<Capability> {
    // `auto` takes `socket` wherever it can.
    let mut needed =
        if config.names(DataplaneKind::Ipvs) { vec!["NET_ADMIN"] } else { vec!["BPF", "NET_ADMIN"] };
    let rescues = config.rescue && may_use_cgroup(config);
    if rescues || config.names(DataplaneKind::Packet) {
        // Before Linux 6.16 the verifier follows programs on interfaces to their end only with it.
        needed.push("PERFMON");
    }
    if config.names(DataplaneKind::Packet) {
        // To send a RST in a VIP's name.
        needed.push("NET_RAW");
    }
    if config.scope == Scope::Node {
        // To enter pods' network namespaces, setns(2), where connections to a dead backend are ended.
        needed.push("SYS_ADMIN");
    }
    needed
}

/// Whether connects may be steered in a cgroup.
fn may_use_cgroup(config: &Config) -> bool {
    config.dataplane.is_none() || config.names(DataplaneKind::Socket)
}

/// A struct of ours as YAML. Ours have string keys and plain values only, which always can be written.
fn yaml(value: &impl serde::Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}
