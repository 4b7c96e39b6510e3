//! What clients notice when a master fails.

use serde::{Deserialize, Serialize};

/// The figures of all faults.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Failover {}

impl Failover {
    /// The report's section, Markdown.
    #[must_use]
    pub fn render(&self) -> String {
        String::new()
    }
}
