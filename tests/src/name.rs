//! Names that no other lab has: of this process, of another one, or of the one beside it in the same process.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The beginning of everything a lab makes on the host: namespaces, cgroups, temporary directories.
pub const PREFIX: &str = "lbt";

/// The name of one lab, `lbt-PID-N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabName(String);

impl LabName {
    /// A name not given out before.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(format!("{PREFIX}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)))
    }

    /// The name of one part of the lab, `lbt-PID-N-ROLE`.
    #[must_use]
    pub fn role(&self, role: &str) -> String {
        format!("{}-{role}", self.0)
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
