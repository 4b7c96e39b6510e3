//! What `lab-client pace` prints. All times are microseconds on the clock of [`crate::clock`], durations too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The last line: everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order in which they began.
    pub attempts: Vec<Attempt>,
    /// The watches, in no order.
    pub watches: Vec<Watched>,
    /// What getpeername() said, and how often.
    #[serde(default)]
    pub peers: BTreeMap<String, u64>,
    /// How much later than planned an attempt began, at worst: a busy machine, not the one under test.
    pub latest_us: u64,
    /// Attempts that were due while too many were under way, and so never began.
    pub omitted: u64,
}

/// One new connection with one request on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub begin_us: u64,
    /// How long it took, or had taken when the client ended.
    pub took_us: u64,
    /// How long connect() took; `None` where it failed or had not ended.
    pub connect_us: Option<u64>,
    /// What became of it.
    pub end: End,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// Answered, by the master of this name.
    Served(String),
    /// Connected, and nothing was asked.
    Connected,
    /// Failed with this error.
    Failed(String),
    /// Still under way when the client ended.
    Unfinished,
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The master's name; `None` where it did not open.
    pub server: Option<String>,
    /// When its end was noticed, and as what; `None` where it had not ended when the client did.
    pub ended: Option<(u64, String)>,
}

/// A line printed while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it was printed.
    pub at_us: u64,
    /// Begin of the last attempt that failed or was slow, or is under way for that long already.
    pub last_trouble_us: Option<u64>,
    /// Begin of the last attempt that each master answered.
    pub last_served_us: BTreeMap<String, u64>,
    /// Open watches of each master.
    pub watching: BTreeMap<String, u32>,
    /// Watches that did not open, or have ended.
    pub ended: u32,
}

impl Attempt {
    /// Whether it failed, or took longer than `slow_us`.
    #[must_use]
    pub fn is_trouble(&self, slow_us: u64) -> bool {
        matches!(self.end, End::Failed(_)) || self.took_us > slow_us
    }

    /// When it ended, or the client did.
    #[must_use]
    pub fn end_us(&self) -> u64 {
        self.begin_us + self.took_us
    }
}
