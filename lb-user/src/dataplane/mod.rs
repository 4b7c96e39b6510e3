//! The three ways to map a VIP to its backends, behind one interface.
//!
//! Level-triggered: what the kernel holds is observed, compared with what it should hold, and mended. Nothing is
//! remembered that can be observed.

mod connections;
mod elders;
mod error;
mod evict;
mod held;
pub mod ipvs;
mod open;
mod packet;
mod plan;
mod plane;
pub mod services;
pub mod socket;
pub mod tc;
pub mod xdp;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::SocketAddr,
    ops::AddAssign,
    time::Duration,
};

use lb_core::{
    config::Config,
    control::{Eviction, Pair},
    desired::DesiredState,
    doctor::PacketFacts,
    model::DataplaneKind,
};

pub use connections::{Connections, connections};
pub use error::{DataplaneError, Unsupported};
pub use held::{Held, HeldService, cleanup, counters, peek, sent_on};
pub use open::{Opened, Opener, Told, preferred};
pub use packet::try_programs as try_packet_programs;
pub use plan::plan;
pub use plane::Plane;

/// A mechanism that maps VIPs to backends.
pub trait Dataplane {
    /// Which one.
    const KIND: DataplaneKind;

    /// This dataplane's own kernel state, as data.
    type Native: Clone + Eq + Debug;
    /// One mutation of it.
    type Change: Debug;

    /// What the kernel holds, as far as it concerns `desired`.
    fn observe(&mut self, desired: &DesiredState) -> Result<Self::Native, DataplaneError>;

    /// What the kernel should hold. Pure.
    fn lower(&self, desired: &DesiredState) -> Result<Self::Native, Unsupported>;

    /// The mutations that lead from one state to another. Pure; the order is part of it: new things are made before
    /// old ones go, so that no connect falls into a gap.
    fn diff(observed: &Self::Native, wanted: &Self::Native) -> Vec<Self::Change>;

    /// The VIP that a mutation is about. Where it fails, later ones about the same VIP are left out, those about others
    /// are not. `None`: all depend on it.
    fn subject(change: &Self::Change) -> Option<SocketAddr>;

    /// Makes one mutation.
    fn apply(&mut self, change: &Self::Change) -> Result<(), DataplaneError>;

    /// Ends connections that were made through a VIP to a backend that takes no new ones, or a few of many.
    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError>;

    /// What the kernel counted, for each pair that it knows.
    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError>;

    /// Whether it really works, proven where that can be done, and what `lbctl status` shows of it.
    fn inspect(&mut self) -> Result<Inspection, DataplaneError>;

    /// Does what can wait until the kernel holds what it should, so that the next change need not.
    fn settle(&mut self) -> Result<(), DataplaneError>;

    /// How often the kernel is compared with what it should hold, though nothing is known to have changed.
    fn resync(&self) -> Duration;

    /// Whether the last comparison left something for the next, which is due soon.
    fn is_unfinished(&self) -> bool {
        false
    }

    /// From now on takes no new connections. Those that were made through it go on, are counted, and can be ended.
    fn quiesce(&mut self) -> Result<(), DataplaneError>;

    /// Takes new connections again, from the next time on that it is programmed.
    fn resume(&mut self);

    /// Removes from the kernel everything that it made.
    fn remove(&mut self) -> Result<(), DataplaneError>;
}

/// What the packet dataplane meets on this node, or would.
pub fn survey_packets(
    config: &Config,
    backends: &BTreeSet<SocketAddr>,
) -> Result<PacketFacts, DataplaneError> {
    packet::PacketDataplane::survey(&open::packet_options(config), backends)
}

/// What the kernel counted for one backend of one VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Established now.
    pub active: u64,
    /// Sent to it, ever.
    pub total: u64,
    /// Refused by it, ever.
    pub refused: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.active += other.active;
        self.total += other.total;
        self.refused += other.refused;
    }
}

/// What came of ending connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// How many were ended.
    pub ended: usize,
    /// How many could not be.
    pub failed: usize,
}

impl AddAssign for Evicted {
    fn add_assign(&mut self, other: Self) {
        self.ended += other.ended;
        self.failed += other.failed;
    }
}

/// What a look at a running dataplane showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Why connects do not pass through it; `None`: they do.
    pub ineffective: Option<String>,
    /// What somebody should know although it works.
    pub warnings: Vec<String>,
    /// Label and value, for people.
    pub facts: Vec<(String, String)>,
}
