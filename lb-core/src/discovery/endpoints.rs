use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

use super::{ListError, PORT_NAME};

/// core/v1 Endpoints, as far as it concerns us. Addresses are text: a bad one is ignored, not the whole list.
#[derive(Deserialize)]
struct Endpoints {
    #[serde(default)]
    subsets: Vec<Subset>,
}

#[derive(Deserialize)]
struct Subset {
    /// Those that are not ready are listed elsewhere: whether one is ready we see ourselves.
    #[serde(default)]
    addresses: Vec<Address>,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Address {
    ip: String,
}

#[derive(Deserialize)]
pub(super) struct Port {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

/// The apiservers that the object `endpoints/kubernetes` of the namespace `default` lists.
///
/// # Errors
/// When it is no such object.
pub fn from_endpoints(json: &[u8]) -> Result<BTreeSet<SocketAddr>, ListError> {
    let endpoints: Endpoints =
        serde_json::from_slice(json).map_err(|source| ListError::Shape { kind: "Endpoints", source })?;
    let of = |subset: &Subset| {
        let port = https_port(&subset.ports);
        let ips = subset.addresses.iter().filter_map(|address| address.ip.parse::<IpAddr>().ok());
        ips.filter_map(|ip| Some(SocketAddr::new(ip, port?))).collect::<Vec<_>>()
    };
    Ok(endpoints.subsets.iter().flat_map(of).collect())
}

/// The port named `https`, or the only one, if it has no name.
pub(super) fn https_port(ports: &[Port]) -> Option<u16> {
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT_NAME));
    let only = || match ports {
        [only] if only.name.as_deref().is_none_or(str::is_empty) => Some(only),
        _ => None,
    };
    named.or_else(only)?.port.filter(|port| *port != 0)
}
