//! A bar that lbctl is held to, and whether it is met.

use serde::{Deserialize, Serialize};

/// A bar beside the computed figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// What must hold.
    pub text: String,
    /// What was seen.
    pub figure: String,
    /// Whether it holds.
    pub met: bool,
}
