//! What Kubernetes' own clients read: which groups and resources there are, endpoints, slices and nodes.

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::cluster::{self, Kind, Watching};
use super::state::State;

const VERSIONS: &str = "/api";
const GROUPS: &str = "/apis";
const CORE: &str = "/api/v1";
const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
const NODES: &str = "/api/v1/nodes";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// Every path that is answered here.
pub(super) const PATHS: [&str; 7] = [VERSIONS, GROUPS, CORE, DISCOVERY, NODES, ENDPOINTS, SLICES];

/// What a path holds.
pub(super) enum Reply {
    /// An object or a list.
    Object(Value),
    /// The lines of a watch.
    Watch(mpsc::Receiver<Bytes>),
    /// Its reader may not.
    Forbidden,
}

/// What this path holds, watched from a version on or read; `None`: it is none of [`PATHS`].
pub(super) fn reply(state: &Arc<State>, path: &str, watched: Option<u64>) -> Option<Reply> {
    let cluster = state.cluster().borrow().clone();
    Some(match path {
        VERSIONS => Reply::Object(json!({"kind": "APIVersions", "versions": ["v1"]})),
        GROUPS => Reply::Object(groups()),
        CORE => Reply::Object(resources("v1", &[("nodes", "Node", false), ("endpoints", "Endpoints", true)])),
        DISCOVERY => {
            Reply::Object(resources("discovery.k8s.io/v1", &[("endpointslices", "EndpointSlice", true)]))
        }
        NODES => listed(state, Kind::Nodes, watched, cluster.nodes()),
        ENDPOINTS => Reply::Object(cluster.endpoints()),
        SLICES if cluster.watching() == Watching::Forbidden => Reply::Forbidden,
        SLICES => listed(state, Kind::Slices, watched, cluster.slices()),
        _ => return None,
    })
}

fn listed(state: &Arc<State>, kind: Kind, watched: Option<u64>, list: Value) -> Reply {
    watched.map_or(Reply::Object(list), |since| Reply::Watch(cluster::watch(state, kind, since)))
}

fn groups() -> Value {
    let version = json!({"groupVersion": "discovery.k8s.io/v1", "version": "v1"});
    let group = json!({"name": "discovery.k8s.io", "versions": [version], "preferredVersion": version});
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
}

/// Resources by name and kind, and whether they are namespaced.
fn resources(version: &str, resources: &[(&str, &str, bool)]) -> Value {
    let resource = |(name, kind, namespaced): &(&str, &str, bool)| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "watch"]});
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": resources.iter().map(resource).collect::<Vec<_>>(),
    })
}
