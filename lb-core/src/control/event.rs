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
    model::BackendKey,
    operator::{OperatorError, OperatorRequest},
    probe::{Failure, ProbeOutcome, ProbeTarget},
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
    /// A new configuration is in force.
    Reloaded(Arc<Config>),
    /// An operator wants something.
    Operator {
        /// What.
        request: OperatorRequest,
        /// Comes back with [`Effect::Answer`].
        ticket: u64,
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
    },
    /// Program the kernel, then end the connections that hang on these backends.
    Program {
        /// What it should hold.
        desired: Arc<DesiredState>,
        /// Whose connections are ended.
        evict: Vec<Pair>,
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
