use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

use super::{
    ListError,
    endpoints::{Port, https_port},
};

/// A cluster has one slice for each family of addresses.
const MAX_SLICES: usize = 64;

/// The cluster's list as slices say it, kept up to date by a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    by_name: BTreeMap<String, BTreeSet<SocketAddr>>,
    /// The version of the list, where a watch goes on.
    version: String,
}

/// What a line of a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The list may have changed.
    Changed,
    /// Nothing but a newer version.
    Bookmark,
    /// The watch is of no use any more, and the list has to be read anew: `410 Gone`, or another error.
    Over(String),
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    #[serde(default)]
    items: Vec<Slice>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
}

/// discovery.k8s.io/v1 EndpointSlice, as far as it concerns us.
#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: serde_json::Value,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl Slices {
    /// From the answer to a list.
    ///
    /// # Errors
    /// When it is no list of slices.
    pub fn from_list(json: &[u8]) -> Result<Self, ListError> {
        let list: List = serde_json::from_slice(json).map_err(shape)?;
        let slices = list.items.into_iter().take(MAX_SLICES);
        let by_name = slices.map(|slice| (slice.metadata.name.clone(), slice.addresses())).collect();
        Ok(Self { by_name, version: list.metadata.resource_version })
    }

    /// Takes one line of a watch.
    ///
    /// # Errors
    /// When it is none.
    pub fn take(&mut self, line: &[u8]) -> Result<News, ListError> {
        let Line { kind, object } = serde_json::from_slice(line).map_err(shape)?;
        if kind == "ERROR" {
            let Status { code, message } = serde_json::from_value(object).map_err(shape)?;
            return Ok(News::Over(format!("{code} {message}").trim().to_owned()));
        }
        let slice: Slice = serde_json::from_value(object).map_err(shape)?;
        if !slice.metadata.resource_version.is_empty() {
            self.version.clone_from(&slice.metadata.resource_version);
        }
        let name = slice.metadata.name.clone();
        match kind.as_str() {
            "ADDED" | "MODIFIED" if self.by_name.len() < MAX_SLICES || self.by_name.contains_key(&name) => {
                self.by_name.insert(name, slice.addresses());
                Ok(News::Changed)
            }
            "DELETED" => {
                self.by_name.remove(&name);
                Ok(News::Changed)
            }
            _ => Ok(News::Bookmark),
        }
    }

    /// Every apiserver that is listed.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.by_name.values().flatten().copied().collect()
    }

    /// Where a watch goes on.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl Slice {
    fn addresses(&self) -> BTreeSet<SocketAddr> {
        let Some(port) = https_port(self.ports.as_deref().unwrap_or_default()) else {
            return BTreeSet::new();
        };
        let endpoints = self.endpoints.iter().flatten();
        let ips =
            endpoints.flat_map(|endpoint| &endpoint.addresses).filter_map(|ip| ip.parse::<IpAddr>().ok());
        ips.map(|ip| SocketAddr::new(ip, port)).collect()
    }
}

fn shape(source: serde_json::Error) -> ListError {
    ListError::Shape { kind: "EndpointSlices", source }
}
