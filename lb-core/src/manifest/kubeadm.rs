use std::{fmt::Write as _, net::IpAddr};

use serde::Serialize;

use super::yaml;
use crate::config::{Config, ServiceConfig};

const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";
/// First and last second byte of kubeadm's default range for Services, 10.96.0.0/12
/// (k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go).
const DEFAULT_SERVICES: (u8, u8) = (96, 111);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration {
    api_version: &'static str,
    kind: &'static str,
    control_plane_endpoint: String,
    api_server: ApiServer,
    #[serde(skip_serializing_if = "Option::is_none")]
    networking: Option<Networking>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Networking {
    service_subnet: String,
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
        networking: clear_of(config),
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
# For kubeadm: `kubeadm init --upload-certs --config FILE` on the first master, `kubeadm join --config FILE` on all other
# nodes, on masters with the last lines. Written by `lbctl manifest kubeadm`.
#
# lbctl comes first. On a node that joins, `lbctl run --once --wait 60s` is enough. On the first master the agent must run
# while kubeadm does: it leads the address to the apiserver as soon as that answers.
#
# Where nodes use a proxy, nothing of this may go through it. Put these into NO_PROXY of the shell that runs kubeadm, of
# the kubelet and of the container runtime:
#   {}
{}---
{}# On a master that joins, also:
# controlPlane:
#   certificateKey: REPLACE-WITH-THE-KEY-THAT-KUBEADM-INIT-PRINTED
",
        names(service).join(","),
        yaml(&cluster),
        yaml(&join)
    );
    Some(text)
}

/// A range for Services that has none of the virtual addresses, where kubeadm's own has one.
fn clear_of(config: &Config) -> Option<Networking> {
    let (first, last) = DEFAULT_SERVICES;
    let within = |second: &u8| {
        config.services.iter().any(|service| match service.vip.ip() {
            IpAddr::V4(ip) => ip.octets()[..2] == [10, *second],
            IpAddr::V6(_) => false,
        })
    };
    let (taken, free): (Vec<u8>, Vec<u8>) = (first..=last).partition(within);
    if taken.is_empty() {
        return None;
    }
    free.first().map(|second| Networking { service_subnet: format!("10.{second}.0.0/16") })
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
