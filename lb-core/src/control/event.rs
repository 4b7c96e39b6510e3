use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use crate::{
    config::Config,
    desired::DesiredState,
    hosts::Entry,
    model::{BackendKey, ServiceName},
    operator::{OperatorError, OperatorRequest},
    probe::{Failure, ProbeOutcome, ProbeTarget, Silence},
    state::State,
    view::{BackendView, TransitionView},
};

/// The present, read once per event: for deadlines, and for people.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never goes back.
    pub instant: Instant,
    /// What the clock on the wall says.
    pub wall: Timestamp,
}

/// A VIP and one of its backends: how the kernel names what we call a [`BackendKey`].
pub type Pair = (SocketAddr, SocketAddr);

/// Connections that are to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Eviction {
    /// Through which VIP, to which backend.
    pub pair: Pair,
    /// Which of them.
    pub which: Which,
}

/// Which of a pair's connections are ended. Ordered: of two that are ordered for a pair the later is carried out, which
/// includes the earlier or matters more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Those that were there when this `since` was first told: rebalancing.
    Elders {
        /// Names the rebalancing: when the last backend returned.
        since: Instant,
        /// Whether one of them is ended; else they are only noted.
        one: bool,
    },
    /// Those begun since then that have not received a byte, unless somebody has received one from that backend
    /// meanwhile.
    BegunSince(Instant),
    /// All.
    All,
}

/// What befell a connection of the node's own traffic. It raises suspicion and decides nothing: packets get lost, and
/// clients give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The backend's host refused it.
    Refused,
    /// What was sent was not acknowledged in time, and was sent again.
    Retransmitted,
}

/// Everything that can happen to an agent.
#[derive(Debug)]
pub enum Event {
    /// A deadline of [`super::Controller::deadline`] has come.
    Tick,
    /// A probe ended.
    Probed {
        /// Whose.
        key: BackendKey,
        /// Which: [`Effect::Probe`] gave the number.
        attempt: u64,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// The connection kept to a backend ended.
    ConnectionLost {
        /// Whose.
        key: BackendKey,
        /// Why.
        why: Failure,
    },
    /// A backend has not answered yet. Comes again and again until it does.
    Silent {
        /// Which.
        key: BackendKey,
        /// Since when, and what its host says.
        silence: Silence,
    },
    /// The kernel tells of the node's own traffic.
    Signalled {
        /// Whose connection it was.
        pair: Pair,
        /// What befell it.
        signal: Signal,
    },
    /// A new configuration is in force.
    Reloaded(Arc<Config>),
    /// An operator wants something.
    Operator {
        /// What.
        request: OperatorRequest,
        /// Comes back with [`Effect::Answer`].
        ticket: u64,
    },
    /// An apiserver that is up has told the cluster's list of apiservers.
    Listed {
        /// Whose backends they are.
        service: ServiceName,
        /// The list.
        addresses: BTreeSet<SocketAddr>,
    },
    /// The node's own addresses.
    Addresses(BTreeSet<IpAddr>),
    /// How many connections the kernel counts, for each pair that it knows.
    Counted(BTreeMap<Pair, u64>),
}

/// Everything that an agent does about it.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Begin to keep a connection to a backend, in place of an earlier one.
    StartProber(ProbeTarget),
    /// End that.
    StopProber(BackendKey),
    /// Probe a backend now.
    Probe {
        /// Which.
        key: BackendKey,
        /// Comes back with [`Event::Probed`].
        attempt: u64,
        /// Whether the node's own traffic waits for it: then its answer is missed sooner.
        doubted: bool,
    },
    /// Program the kernel, then end these connections.
    Program {
        /// What it should hold.
        desired: Arc<DesiredState>,
        /// Which connections are ended.
        evict: Vec<Eviction>,
    },
    /// Keep this over restarts.
    Persist(State),
    /// Say what the hosts file should hold.
    Hosts(Vec<Entry>),
    /// Tell everybody.
    Announce(TransitionView),
    /// Answer an operator.
    Answer {
        /// Of [`Event::Operator`].
        ticket: u64,
        /// The backend as it is now, or as it was before it was removed.
        result: Box<Result<BackendView, OperatorError>>,
    },
}
