//! What probes cost the masters.

use serde::{Deserialize, Serialize};

/// The figures of all probes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Probes {}

impl Probes {
    /// The report's section, Markdown.
    #[must_use]
    pub fn render(&self) -> String {
        String::new()
    }
}
