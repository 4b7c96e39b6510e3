//! What `lbctl connections` prints with `-o json`, and what `GET /v1/connections` answers: the connections that the kernel
//! translates packet by packet. Keys are stable; more may be added.

mod collect;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{ConnectionState, ServiceName};

pub use collect::{Collector, Connection, ConnectionFilter, Table};

/// The most connections in one answer.
pub const MAX_ROWS: usize = 10_000;

/// `GET /v1/connections`, `lbctl connections -o json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTableView {
    /// Those that were asked for, [`MAX_ROWS`] at most, by VIP, backend and client.
    pub connections: Vec<ConnectionView>,
    /// How many of them there are for each backend, those among them that are not listed.
    pub backends: Vec<BackendConnectionsView>,
    /// Packets that were not let through, by reason, since the table was made.
    pub dropped: DroppedView,
    /// Connections since the table was made.
    pub counted: CountedView,
    /// How many were asked for; more than are listed where the answer is `truncated`.
    pub total: u64,
    /// Whether some of those that were asked for are not listed.
    pub truncated: bool,
    /// How many connections there is room for; `null`: there is no table.
    pub capacity: Option<CapacityView>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionView {
    /// Whence.
    pub client: SocketAddr,
    /// Whither, as far as the client knows; for one that the socket dataplane made the backend that it was meant for.
    pub vip: SocketAddr,
    /// The service of that VIP; `null` where it is none of today's.
    pub service: Option<ServiceName>,
    /// Whither in truth.
    pub backend: SocketAddr,
    /// Its source port on the way to the backend, which the node has chosen.
    pub port: u16,
    /// How far it is.
    pub state: ConnectionState,
    /// Whether its client is a process of this node.
    pub host: bool,
    /// Whether it was sent to another backend before it was answered.
    pub rescued: bool,
    /// Seconds since its first packet.
    pub age_seconds: u64,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
}

/// How many connections there are of one VIP to one backend, by how far they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendConnectionsView {
    /// The service of that VIP; `null` where it is none of today's.
    pub service: Option<ServiceName>,
    /// The VIP; for rescued ones the backend that they were meant for.
    pub vip: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
    /// [`ConnectionState::Opening`].
    pub opening: u64,
    /// [`ConnectionState::Open`].
    pub open: u64,
    /// [`ConnectionState::Closing`].
    pub closing: u64,
    /// [`ConnectionState::Reset`].
    pub reset: u64,
}

impl BackendConnectionsView {
    /// Each state with its number.
    pub fn by_state(&self) -> [(ConnectionState, u64); 4] {
        [
            (ConnectionState::Opening, self.opening),
            (ConnectionState::Open, self.open),
            (ConnectionState::Closing, self.closing),
            (ConnectionState::Reset, self.reset),
        ]
    }
}

/// Connections since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedView {
    /// Begun by a client.
    pub begun: u64,
    /// Agreed to by both sides.
    pub opened: u64,
    /// Sent to another backend before they were answered.
    pub rescued: u64,
    /// Packets of theirs that XDP took.
    #[serde(default)]
    pub fast_packets: u64,
}

/// How many connections there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityView {
    /// Those that both sides have agreed to.
    pub open: u64,
    /// Those that are being made.
    pub opening: u64,
}

/// Declares the reasons once: as fields, and as a list with a name and an explanation each.
macro_rules! reasons {
    ($($field:ident = $name:literal: $meaning:literal,)+) => {
        /// Packets that were not let through, by reason, since the table was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct DroppedView {
            $(#[doc = concat!("Because of this: ", $meaning, ".")] #[serde(rename = $name)] pub $field: u64,)+
        }

        impl DroppedView {
            /// Each reason by its name in JSON, what it means, and how many packets there were.
            pub fn by_reason(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($name, $meaning, self.$field)),+]
            }
        }
    };
}

reasons! {
    no_backend = "noBackend": "nobody serves the VIP; the client got a RST",
    unknown = "unknown": "of no connection that is known; the client got a RST",
    fragment = "fragment": "a fragment of a packet",
    malformed = "malformed": "a TCP header whose length makes no sense",
    full = "full": "no source port was free towards the backend, or no memory",
    no_way = "noWay": "no way to the backend",
    scope = "scope": "from a namespace or machine that the scope leaves out; the client got a RST",
    given_up = "givenUp": "an answer of a backend that was given up meanwhile",
    displaced = "displaced": "of a connection that others have pushed out of the table",
}
