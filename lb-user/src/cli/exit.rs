//! Exit codes, and which error has which.

use std::{error::Error, io, iter::successors};

use lb_core::config::ConfigErrors;

use super::source::ConfigSourceError;
use crate::{admin::ClientError, agent::AgentError, dataplane::DataplaneError, os::hosts::HostsFileError};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1: failed at run time.
    Failed,
    /// 2: usage or config error. clap exits with the same code.
    Usage,
    /// 3: no healthy backend.
    NoHealthyBackend,
    /// 4: the kernel or the host lacks what is needed.
    Missing,
    /// 5: no permission.
    Permission,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoHealthyBackend => 3,
            Self::Missing => 4,
            Self::Permission => 5,
        }
    }

    /// What an error means: the first verdict on the way to its root cause, else [`Self::Failed`].
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        successors(Some(error), |&error| error.source()).find_map(verdict).unwrap_or(Self::Failed)
    }
}

/// The exit code for an error that ends a command.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<AgentError>() {
        Some(agent) => agent.exit_code(),
        None => Exit::of(error.as_ref()).code(),
    }
}

/// What one error of a chain says; `None`: its cause decides.
fn verdict(error: &(dyn Error + 'static)) -> Option<Exit> {
    if let Some(error) = error.downcast_ref::<DataplaneError>() {
        return dataplane(error);
    }
    if let Some(error) = error.downcast_ref::<ConfigSourceError>() {
        return Some(config(error));
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return client(error);
    }
    if let Some(error) = error.downcast_ref::<HostsFileError>() {
        return error.is_permission().then_some(Exit::Permission);
    }
    if error.is::<ConfigErrors>() {
        return Some(Exit::Usage);
    }
    let error = error.downcast_ref::<io::Error>()?;
    (error.kind() == io::ErrorKind::PermissionDenied).then_some(Exit::Permission)
}

fn dataplane(error: &DataplaneError) -> Option<Exit> {
    match error {
        DataplaneError::Missing { .. } => Some(Exit::Missing),
        DataplaneError::Permission { .. } => Some(Exit::Permission),
        DataplaneError::Unsupported(_) => Some(Exit::Usage),
        DataplaneError::Full { .. } | DataplaneError::Failed { .. } | DataplaneError::Locked(_) => None,
    }
}

fn config(error: &ConfigSourceError) -> Exit {
    match error {
        ConfigSourceError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Exit::Permission
        }
        ConfigSourceError::Read { .. } | ConfigSourceError::Invalid(_) => Exit::Usage,
    }
}

fn client(error: &ClientError) -> Option<Exit> {
    match error {
        ClientError::PermissionDenied { .. } => Some(Exit::Permission),
        ClientError::PathTooLong { .. } => Some(Exit::Usage),
        ClientError::NotRunning { .. }
        | ClientError::Api { .. }
        | ClientError::Timeout { .. }
        | ClientError::Connect { .. }
        | ClientError::BadAnswer { .. } => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use lb_core::{config, model::DataplaneKind};

    use super::*;
    use crate::dataplane::Unsupported;

    fn missing() -> DataplaneError {
        DataplaneError::Missing { what: "cgroup v2".into(), remedy: "mount it".into() }
    }

    #[test]
    fn each_class_of_error_has_its_code() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let permission = DataplaneError::Permission { operation: "load".into(), capability: "CAP_BPF" };
        let unsupported = Unsupported {
            feature: "sticky".into(),
            dataplane: DataplaneKind::Socket,
            remedy: "choose random",
        };
        let invalid = config::load(None, &config::Overrides::default()).unwrap_err();
        let read = |source| ConfigSourceError::Read { path: "/x".into(), source };
        let hosts = |source| HostsFileError::Write { path: "/x".into(), source };
        let not_running = ClientError::NotRunning { path: "/x".into() };
        let table: Vec<(anyhow::Error, u8)> = vec![
            (anyhow::anyhow!("anything"), 1),
            (missing().into(), 4),
            (permission.into(), 5),
            (DataplaneError::from(unsupported).into(), 2),
            (DataplaneError::failed("open", "map")(denied()).into(), 5),
            (DataplaneError::failed("open", "map")(gone()).into(), 1),
            (ConfigSourceError::Invalid(invalid).into(), 2),
            (read(gone()).into(), 2),
            (read(denied()).into(), 5),
            (hosts(denied()).into(), 5),
            (hosts(io::ErrorKind::ReadOnlyFilesystem.into()).into(), 1),
            (not_running.into(), 1),
            (ClientError::PermissionDenied { path: "/x".into() }.into(), 5),
            (AgentError::from(missing()).into(), 4),
        ];
        for (error, code) in table {
            assert_eq!(code_of(&error), code, "{error:?}");
            assert_eq!(code_of(&error.context("failed to do it")), code, "a context changes nothing");
        }
    }
}
