use std::fmt::Write as _;

use serde::Serialize;

use super::yaml;
use crate::config::{Config, ServiceConfig};

const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration {
    api_version: &'static str,
    kind: &'static str,
    control_plane_endpoint: String,
    api_server: ApiServer,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiServer {
    #[serde(rename = "certSANs")]
    cert_sans: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinConfiguration {
    api_version: &'static str,
    kind: &'static str,
    discovery: Discovery,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovery {
    bootstrap_token: BootstrapToken,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BootstrapToken {
    api_server_endpoint: String,
    token: &'static str,
    ca_cert_hashes: [&'static str; 1],
}

/// What `kubeadm init --config` and `kubeadm join --config` need for the first service's virtual address: the endpoint, and
/// certificates that carry each name and address that apiservers are reached by. `None`: there is no service.
pub fn kubeadm(config: &Config) -> Option<String> {
    let service = config.services.first()?;
    let endpoint = endpoint(service);
    let cluster = ClusterConfiguration {
        api_version: API_VERSION,
        kind: "ClusterConfiguration",
        control_plane_endpoint: endpoint.clone(),
        api_server: ApiServer { cert_sans: names(service) },
    };
    let join = JoinConfiguration {
        api_version: API_VERSION,
        kind: "JoinConfiguration",
        discovery: Discovery {
            bootstrap_token: BootstrapToken {
                api_server_endpoint: endpoint,
                // As `kubeadm token create --print-join-command` prints them.
                token: "REPLACE.WITH-YOUR-TOKEN",
                ca_cert_hashes: ["sha256:REPLACE-WITH-YOUR-HASH"],
            },
        },
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\
# For kubeadm: `kubeadm init --config FILE` on the first master, `kubeadm join --config FILE` on all other nodes.
# Written by `lbctl manifest kubeadm`. lbctl must run on a node before kubeadm does: `lbctl run --once --wait 60s` there, on
# the first master without --wait.
#
# Where nodes use a proxy, nothing of this may go through it. Put these into NO_PROXY of the shell that runs kubeadm, of
# the kubelet and of the container runtime:
#   {}
{}---
{}",
        names(service).join(","),
        yaml(&cluster),
        yaml(&join)
    );
    Some(text)
}

fn endpoint(service: &ServiceConfig) -> String {
    match &service.hostname {
        Some(hostname) => format!("{hostname}:{}", service.vip.port()),
        None => service.vip.to_string(),
    }
}

/// The name, the virtual address, and all masters.
fn names(service: &ServiceConfig) -> Vec<String> {
    let hostname = service.hostname.iter().map(ToString::to_string);
    let addresses = service.backends.iter().map(|backend| backend.address.ip().to_string());
    hostname.chain([service.vip.ip().to_string()]).chain(addresses).collect()
}
