//! Which dataplane a lab's agent is told to use.

/// What the configuration says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataplane {
    /// eBPF on the cgroup's hooks.
    Socket,
    /// IPVS over netlink.
    Ipvs,
    /// Nothing: the agent chooses.
    Unsaid,
}

impl Dataplane {
    /// As the configuration has it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Socket => Some("socket"),
            Self::Ipvs => Some("ipvs"),
            Self::Unsaid => None,
        }
    }

    /// Whether an agent that is told so may come to program IPVS.
    #[must_use]
    pub fn may_be_ipvs(self) -> bool {
        match self {
            Self::Socket => false,
            Self::Ipvs | Self::Unsaid => true,
        }
    }
}
