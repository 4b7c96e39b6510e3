use std::fmt;

use serde::{Deserialize, Serialize};

/// What is known about a backend, as shown to people and scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// No verdict yet. Never counts as up.
    Unknown,
    /// Answers, and says that it is ready.
    Up,
    /// Silent for a moment: new connections go elsewhere while others are up, nothing established is ended.
    Suspect,
    /// Answers, but says that it is not ready: no new connections, old ones stay.
    NotReady,
    /// Refused, reset, or silent for long: no new connections, old ones are ended.
    Dead,
}

impl Health {
    /// The name in output and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::NotReady => "notReady",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
