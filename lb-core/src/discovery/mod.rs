//! The cluster's own list of its apiservers: how it is written, and what of it belongs to a service. Text in, data out.

mod endpoints;
mod judge;
mod kubeconfig;
mod slices;
#[cfg(test)]
mod tests;

pub use endpoints::from_endpoints;
pub use judge::{Judged, judge};
pub use kubeconfig::{Credentials, Kubeconfig, KubeconfigError, Material};
pub use slices::{News, Slices};

/// The port that apiservers list themselves with (pkg/controlplane/reconcilers of Kubernetes).
const PORT_NAME: &str = "https";

/// Why an answer is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not what was asked for.
    #[error("read the answer as {kind}: {source}")]
    Shape {
        /// What was asked for.
        kind: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
}
