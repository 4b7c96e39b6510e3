//! What a cluster keeps about itself: the list of its apiservers, as Endpoints and as EndpointSlices, and its nodes, one for
//! each of them; as lists and watched.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::state::State;

/// Between two lines of a flood.
const FLOOD: Duration = Duration::from_micros(200);

/// What the stand-in lists, and how it lets itself be watched.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    version: u64,
    listed: Vec<SocketAddr>,
    watching: Watching,
}

/// What can be watched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Slices,
    Nodes,
}

/// How a watch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Watching {
    /// As it should.
    Allowed,
    /// 403, for the slices as a whole.
    Forbidden,
    /// It never says anything.
    Stalled,
    /// It says 410 Gone at once.
    Gone,
    /// The same over and over again.
    Flood,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { version: 1, listed: Vec::new(), watching: Watching::Allowed }
    }
}

impl Cluster {
    pub(super) fn watching(&self) -> Watching {
        self.watching
    }

    /// `none`, or addresses divided by commas. `None`: it is neither.
    pub(super) fn list(&mut self, text: &str) -> Option<()> {
        let addresses = text.split(',').filter(|part| *part != "none").map(SocketAddr::from_str);
        self.listed = addresses.collect::<Result<_, _>>().ok()?;
        self.version += 1;
        Some(())
    }

    pub(super) fn watch_as(&mut self, watching: Watching) {
        self.watching = watching;
        self.version += 1;
    }

    pub(super) fn endpoints(&self) -> Value {
        let subset = |address: &SocketAddr| json!({"addresses": [{"ip": address.ip()}], "ports": [{"name": "https", "port": address.port()}]});
        let subsets: Vec<_> = self.listed.iter().map(subset).collect();
        json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "kubernetes"}, "subsets": subsets})
    }

    pub(super) fn slices(&self) -> Value {
        json!({
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": [self.slice()],
        })
    }

    /// One slice has one port; all apiservers of a lab have the same.
    fn slice(&self) -> Value {
        let endpoint =
            |address: &SocketAddr| json!({"addresses": [address.ip()], "conditions": {"ready": true}});
        let endpoints: Vec<_> = self.listed.iter().map(endpoint).collect();
        let port = self.listed.first().map_or(6443, SocketAddr::port);
        json!({
            "metadata": {"name": "kubernetes", "resourceVersion": self.version.to_string()},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        })
    }

    pub(super) fn nodes(&self) -> Value {
        json!({
            "kind": "NodeList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": self.listed.iter().map(|address| self.node(address)).collect::<Vec<_>>(),
        })
    }

    fn node(&self, address: &SocketAddr) -> Value {
        let name = address.ip().to_string().replace(['.', ':'], "-");
        json!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": format!("node-{name}"),
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "resourceVersion": self.version.to_string(),
            },
            "status": {"addresses": [{"type": "InternalIP", "address": address.ip()}]},
        })
    }

    /// What a watch says of a change.
    fn lines(&self, kind: Kind) -> Bytes {
        let modified = |object| json!({"type": "MODIFIED", "object": object});
        let events: Vec<Value> = match (self.watching, kind) {
            (Watching::Gone, _) => {
                vec![json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})]
            }
            (_, Kind::Slices) => vec![modified(self.slice())],
            (_, Kind::Nodes) => self.listed.iter().map(|address| modified(self.node(address))).collect(),
        };
        Bytes::from(events.iter().map(|event| format!("{event}\n")).collect::<String>())
    }
}

/// The lines of a watch that goes on from a version, as long as somebody reads them and the process is not asked to end.
pub(super) fn watch(state: &Arc<State>, kind: Kind, since: u64) -> mpsc::Receiver<Bytes> {
    let (lines, body) = mpsc::channel(16);
    let (state, mut cluster) = (Arc::clone(state), state.cluster().subscribe());
    tokio::spawn(async move {
        tokio::select! {
            () = state.stopped() => {}
            () = lines.closed() => {}
            () = tell(&mut cluster, kind, since, &lines) => {}
        }
    });
    body
}

async fn tell(
    cluster: &mut watch::Receiver<Cluster>,
    kind: Kind,
    mut seen: u64,
    lines: &mpsc::Sender<Bytes>,
) {
    loop {
        let now = cluster.borrow_and_update().clone();
        match now.watching {
            Watching::Gone => return drop(lines.send(now.lines(kind)).await),
            Watching::Stalled => std::future::pending().await,
            Watching::Flood => {
                if lines.send(now.lines(kind)).await.is_err() {
                    return;
                }
                tokio::time::sleep(FLOOD).await;
                continue;
            }
            Watching::Allowed | Watching::Forbidden => {}
        }
        if now.version > seen {
            seen = now.version;
            if lines.send(now.lines(kind)).await.is_err() {
                return;
            }
        }
        if cluster.changed().await.is_err() {
            return;
        }
    }
}
