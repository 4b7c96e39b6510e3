//! The part of Kubernetes' core/v1 Pod that our manifest uses, in the order in which it is written.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) spec: PodSpec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) labels: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) host_network: bool,
    pub(super) priority_class_name: &'static str,
    pub(super) automount_service_account_token: bool,
    pub(super) enable_service_links: bool,
    pub(super) termination_grace_period_seconds: u32,
    pub(super) containers: [Container; 1],
    pub(super) volumes: Vec<Volume>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) image: String,
    pub(super) image_pull_policy: &'static str,
    pub(super) args: Vec<String>,
    pub(super) resources: Resources,
    pub(super) security_context: SecurityContext,
    pub(super) liveness_probe: Probe,
    pub(super) readiness_probe: Probe,
    pub(super) volume_mounts: Vec<VolumeMount>,
}

#[derive(Serialize)]
pub(super) struct Resources {
    pub(super) requests: BTreeMap<&'static str, &'static str>,
    pub(super) limits: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecurityContext {
    pub(super) privileged: bool,
    pub(super) allow_privilege_escalation: bool,
    pub(super) read_only_root_filesystem: bool,
    pub(super) run_as_user: u32,
    pub(super) run_as_group: u32,
    pub(super) capabilities: Capabilities,
    pub(super) seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
pub(super) struct Capabilities {
    pub(super) drop: [&'static str; 1],
    pub(super) add: Vec<super::Capability>,
}

#[derive(Serialize)]
pub(super) struct SeccompProfile {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Probe {
    #[serde(flatten)]
    pub(super) action: Action,
    pub(super) period_seconds: u32,
    pub(super) timeout_seconds: u32,
    pub(super) failure_threshold: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    HttpGet { host: String, port: u16, path: &'static str },
    Exec { command: Vec<String> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mount_propagation: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) host_path: HostPath,
}

#[derive(Serialize)]
pub(super) struct HostPath {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}
