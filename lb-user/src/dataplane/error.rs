use std::io;

use lb_core::model::DataplaneKind;

use crate::os::lock::LockError;

/// A setting that a dataplane cannot honour. Never silently dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {dataplane} dataplane cannot do {feature}; {remedy}")]
pub struct Unsupported {
    /// What was asked for.
    pub feature: String,
    /// Of whom.
    pub dataplane: DataplaneKind,
    /// What to do instead.
    pub remedy: &'static str,
}

/// What went wrong between the agent and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The kernel or the host lacks something: exit code 4.
    #[error("{what}; {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A capability is missing: exit code 5.
    #[error("failed to {operation}: {capability} is missing; run as root, or grant it")]
    Permission {
        /// What was attempted.
        operation: String,
        /// The capability's name, capabilities(7).
        capability: &'static str,
    },
    /// A setting that this dataplane cannot honour.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Another agent runs on this node, or nobody can tell.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// An operation failed.
    #[error("failed to {operation} {object}")]
    Failed {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        object: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A table of fixed size is full.
    #[error("no room for {what}: all {limit} places are taken")]
    Full {
        /// What did not fit.
        what: String,
        /// The size of the table.
        limit: usize,
    },
}

impl DataplaneError {
    /// For `map_err`: names the operation and the object.
    pub fn failed<E>(operation: &'static str, object: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let object = object.into();
        move |source| Self::Failed { operation, object, source: source.into() }
    }

    /// As [`Self::failed`], but an EPERM names the capability that is missing.
    pub fn denied(
        operation: &'static str,
        object: impl Into<String>,
        capability: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::Permission { operation: format!("{operation} {object}"), capability }
            }
            _ => Self::Failed { operation, object, source: source.into() },
        }
    }
}
