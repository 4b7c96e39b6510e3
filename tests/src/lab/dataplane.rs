//! Which dataplane a lab's agent is told to use.

use serde_yaml::Value;

/// What the configuration says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataplane {
    /// eBPF on the cgroup's hooks.
    Socket,
    /// IPVS over netlink.
    Ipvs,
    /// eBPF on the interfaces' hooks.
    Packet,
    /// Both kinds of eBPF: processes by the cgroup's hooks, the rest by the interfaces'.
    SocketAndPacket,
    /// Nothing: the agent chooses.
    Unsaid,
}

impl Dataplane {
    /// The names of its parts, as the configuration has them.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Socket => &["socket"],
            Self::Ipvs => &["ipvs"],
            Self::Packet => &["packet"],
            Self::SocketAndPacket => &["socket", "packet"],
            Self::Unsaid => &[],
        }
    }

    /// What the configuration says: a name, a list of them, or nothing.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        match self.names() {
            [] => None,
            [name] => Some((*name).into()),
            names => Some(names.iter().map(|name| Value::from(*name)).collect()),
        }
    }

    /// Whether an agent that is told so may come to program IPVS.
    #[must_use]
    pub fn may_be_ipvs(self) -> bool {
        match self {
            Self::Socket | Self::Packet | Self::SocketAndPacket => false,
            Self::Ipvs | Self::Unsaid => true,
        }
    }
}
