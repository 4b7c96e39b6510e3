use std::fmt;

use serde::{Deserialize, Serialize};

/// A closed choice that is written the same way in the config file, on the command line and in JSON.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == s).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    format!("{s:?} is none of {}", all.join(", "))
                })
            }
        }
    };
}

choice! {
    /// The mechanism that maps the VIP to the backends.
    DataplaneKind {
        /// eBPF on the cgroup connect hooks.
        Socket = "socket",
        /// IPVS masquerading.
        Ipvs = "ipvs",
        /// eBPF on TC and XDP.
        Packet = "packet",
    }
}

choice! {
    /// Whose connections are balanced.
    Scope {
        /// Sockets of the agent's network namespace.
        Host = "host",
        /// Those of every network namespace on the node: pods' too.
        Node = "node",
    }
}

choice! {
    /// How a backend is chosen for a new connection.
    Policy {
        /// By chance, in proportion to the weights.
        Random = "random",
        /// In turn, in proportion to the weights.
        RoundRobin = "round-robin",
        /// The one with the fewest connections.
        LeastConn = "least-conn",
        /// Always the same one from the same node, while it is up.
        Sticky = "sticky",
    }
}

choice! {
    /// Whether the node's own backend goes first.
    Prefer {
        /// All backends alike.
        None = "none",
        /// This node's own backend first, while it is up.
        Local = "local",
    }
}

choice! {
    /// What happens to established connections when their backend dies.
    OnDown {
        /// They are ended, so that clients reconnect at once.
        Reset = "reset",
        /// They are left alone.
        Keep = "keep",
    }
}

choice! {
    /// Who serves when no backend is up.
    OnAllDown {
        /// Those that still accept TCP; refuse at once when there are none.
        Auto = "auto",
        /// All of them.
        All = "all",
        /// Nobody: connects fail at once.
        Refuse = "refuse",
    }
}

choice! {
    /// An operator's intent for a backend.
    Admin {
        /// Takes new connections while healthy.
        Active = "active",
        /// Takes no new connections; established ones stay.
        Draining = "draining",
        /// Takes no new connections; established ones are ended as `onDown` says.
        Disabled = "disabled",
    }
}

choice! {
    /// Where a backend comes from.
    Source {
        /// The config file or the command line.
        Config = "config",
        /// `lbctl backends add`.
        Runtime = "runtime",
        /// The cluster's own list.
        Discovery = "discovery",
    }
}

choice! {
    /// How far a connection is that is translated packet by packet.
    ConnectionState {
        /// One side has asked for it.
        Opening = "opening",
        /// Both sides have agreed to it.
        Open = "open",
        /// One side is done, or both.
        Closing = "closing",
        /// One side has reset it.
        Reset = "reset",
    }
}
