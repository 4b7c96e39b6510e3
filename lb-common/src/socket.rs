//! The maps of the socket dataplane.
//!
//! ```text
//! VIPS      hash   Endpoint -> u32 slot           written when a service comes or goes
//! SERVICES  array  slot -> Service                `active` says which of two sets is in force
//! SETS      array  2 * slot + active -> Set       the serving backends; never written while in force
//! BACKENDS  array  Member::backend -> Backend     where it listens, and what was counted
//! SETTINGS  array  0 -> Settings
//! TRACKS    socket storage -> Track               what a socket was connected to
//! SIGNALS   ring buffer of Signal                 what befalls connections; each agent has its own
//! ```
//! A service is replaced by writing the set that is not in force and then flipping `active` with one 64-bit store:
//! a program sees the old set or the new one. Before a set, a slot or a backend record is written again, user space
//! waits for an RCU grace period, so that no program still reads it.

use crate::Endpoint;

/// The version of everything in this file, part of the path under which the maps are pinned. A change of any
/// layout or meaning gets a new number.
pub const LAYOUT_VERSION: u32 = 1;

/// Slots for services.
pub const MAX_SERVICES: u32 = 64;
/// Backends in one set.
pub const MAX_MEMBERS: usize = 64;
/// Backend records: a full set for each service.
pub const MAX_BACKENDS: u32 = MAX_SERVICES * MAX_MEMBERS as u32;
/// The slot that [`Settings`]' proof address maps to: a connect to it is recorded and refused.
pub const PROOF_SLOT: u32 = u32::MAX;

/// [`Set::policy`]: by chance.
pub const POLICY_RANDOM: u16 = 0;
/// [`Set::policy`]: in turn.
pub const POLICY_ROUND_ROBIN: u16 = 1;

/// [`Set::policy`]: the one with the fewest established connections for its weight, of [`LEAST_OF`] in a row from a place
/// of chance on.
pub const POLICY_LEAST_CONN: u16 = 2;
/// So many are compared, which is all of them in any cluster. The comparisons are written out one by one: without
/// CAP_PERFMON the verifiers of Linux 6.1 and 6.12 refuse a loop over all 64.
pub const LEAST_OF: u32 = 8;

/// The longest service name: an RFC 1123 label.
pub const NAME_LENGTH: usize = 63;

/// A service. All zero: a free slot.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Service {
    /// The virtual address.
    pub vip: Endpoint,
    /// Which of the two sets is in force: 0 or 1.
    pub active: u64,
    /// How often a backend was chosen in turn.
    pub turn: u64,
    /// The name's length, then the name: so that the kernel's state explains itself without the agent.
    pub name: [u8; NAME_LENGTH + 1],
}

/// The backends that serve.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Set {
    /// How many members count; 0: connects are refused.
    pub count: u32,
    /// How one is chosen.
    pub policy: u16,
    /// How many members after those that count stand by: up, but not to be chosen unless one that was chosen fails.
    pub reserve: u16,
    /// The sum of the weights.
    pub total: u32,
    /// For [`POLICY_ROUND_ROBIN`]: the step, coprime with `total`, that spreads a backend's turns over the round.
    pub stride: u32,
    /// In rising order of `upto`; those that do not count have `upto == u32::MAX`, those that stand by come first among them.
    pub members: [Member; MAX_MEMBERS],
}

/// One backend of a set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The index in `BACKENDS`.
    pub backend: u32,
    /// The sum of the weights of this member and all before it.
    pub upto: u32,
}

/// One backend of one service, in a set or not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The service's slot.
    pub slot: u32,
    /// 0: a free record; 1: in use.
    pub used: u32,
    /// Connects sent to it, ever.
    pub total: u64,
    /// Connects that it refused, ever.
    pub refused: u64,
    /// Connections established now.
    pub active: u64,
    /// When a [`Signal`] of it was last sent, in ns of CLOCK_MONOTONIC.
    pub signalled: u64,
}

/// What the programs need to know, and what they report.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Only sockets of the network namespace with this cookie are served; 0: all.
    pub netns_cookie: u64,
    /// The cookie of the namespace from which the proof address was last dialled.
    pub proof_cookie: u64,
    /// How often the proof address was dialled through `connect4`.
    pub proofs4: u64,
    /// How often the proof address was dialled through `connect6`.
    pub proofs6: u64,
    /// Connects that could not be tracked for want of memory; they were balanced all the same.
    pub untracked: u64,
}

/// What a socket was connected to. Lives and dies with the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// What the program asked for.
    pub vip: Endpoint,
    /// What it got.
    pub backend: Endpoint,
    /// The index in `BACKENDS`.
    pub index: u32,
    /// A `TRACK_` constant.
    pub state: u32,
}

/// [`Track::state`]: connect() was called.
pub const TRACK_CONNECTING: u32 = 0;
/// [`Track::state`]: the connection was established, and is counted in [`Backend::active`].
pub const TRACK_ESTABLISHED: u32 = 1;
/// [`Track::state`]: the connection is over.
pub const TRACK_CLOSED: u32 = 2;
/// [`Track::state`]: the host has not answered the first SYN, and the connect() may have got [`CONNECT_TIMEOUT_MS`].
pub const TRACK_WAITING: u32 = 3;

/// [`Track::state`]: the host has refused, and the next SYN goes to another backend.
pub const TRACK_SENT_ON: u32 = 4;

/// Something that befell a connection, told to the agent at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signal {
    /// What the program asked for.
    pub vip: Endpoint,
    /// Whom it got.
    pub backend: Endpoint,
    /// A `SIGNAL_` constant.
    pub kind: u64,
}

/// [`Signal::kind`]: the backend's host refused a connect.
pub const SIGNAL_REFUSED: u64 = 1;
/// [`Signal::kind`]: what was sent, a SYN or data, was sent again because nobody had acknowledged it.
pub const SIGNAL_RETRANSMITTED: u64 = 2;

/// A backend's signals follow each other no sooner: a flood of failing connections costs a look at the clock each.
pub const SIGNAL_PACE_NS: u64 = 50_000_000;

/// The bytes of the ring buffer, a power of two and whole pages: 64 signals with the kernel's 8 bytes before each, a
/// second's of three backends.
pub const SIGNALS_BYTES: u32 = 4096;

/// The user timeout (tcp(7), TCP_USER_TIMEOUT), in ms, from the second SYN of a connect() until it is answered, for sockets
/// that have none: how long a host that is gone holds one when no agent is there to free it.
pub const CONNECT_TIMEOUT_MS: u32 = 5_000;

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "marker trait for plain data")]
// SAFETY: repr(C), integers only, no padding, any bit pattern is valid.
unsafe impl aya::Pod for Endpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_layout_has_padding() {
        assert_eq!(size_of::<Endpoint>(), 24);
        assert_eq!(size_of::<Service>(), 24 + 8 + 8 + 64);
        assert_eq!(size_of::<Set>(), 16 + 8 * MAX_MEMBERS);
        assert_eq!(size_of::<Backend>(), 24 + 8 + 4 * 8);
        assert_eq!(size_of::<Track>(), 24 + 24 + 8);
        assert_eq!(size_of::<Signal>(), 24 + 24 + 8);
    }
}
