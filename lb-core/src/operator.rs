//! What an operator may ask of a running agent, and why the agent may say no.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Admin, ServiceName};

/// One wish of an operator. Where `service` is `None`, the only service is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum OperatorRequest {
    /// `lbctl backends drain|enable|disable`.
    SetAdmin {
        /// The service that the backend belongs to.
        service: Option<ServiceName>,
        /// The backend.
        address: SocketAddr,
        /// The intent from now on.
        admin: Admin,
    },
    /// `lbctl backends drain --timeout`.
    Drain {
        /// The service that the backend belongs to.
        service: Option<ServiceName>,
        /// The backend.
        address: SocketAddr,
        /// How long established connections may go on.
        timeout: Duration,
    },
    /// `lbctl backends add`.
    Add {
        /// The service that gets the backend.
        service: Option<ServiceName>,
        /// The new backend.
        address: SocketAddr,
        /// Its share, relative to the others; 0: no new connections.
        weight: u16,
    },
    /// `lbctl backends remove`.
    Remove {
        /// The service that loses the backend.
        service: Option<ServiceName>,
        /// The backend.
        address: SocketAddr,
    },
    /// A new weight for a backend that is there.
    SetWeight {
        /// The service that the backend belongs to.
        service: Option<ServiceName>,
        /// The backend.
        address: SocketAddr,
        /// Its share, relative to the others; 0: no new connections.
        weight: u16,
    },
}

impl OperatorRequest {
    /// The service that is meant, as the operator named it.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::SetAdmin { service, .. }
            | Self::Drain { service, .. }
            | Self::Add { service, .. }
            | Self::Remove { service, .. }
            | Self::SetWeight { service, .. } => service.as_ref(),
        }
    }

    /// The backend that is meant.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::SetAdmin { address, .. }
            | Self::Drain { address, .. }
            | Self::Add { address, .. }
            | Self::Remove { address, .. }
            | Self::SetWeight { address, .. } => *address,
        }
    }
}

/// Why the agent does not do what an operator asked for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "camelCase")]
pub enum OperatorError {
    /// No such service.
    #[error("no service is named {name}")]
    UnknownService {
        /// What was asked for.
        name: ServiceName,
        /// The services there are.
        known: Vec<ServiceName>,
    },
    /// No such backend in that service.
    #[error("service {service} has no backend {address}")]
    UnknownBackend {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        address: SocketAddr,
    },
    /// The request names no service, and there is not exactly one.
    #[error("no service was named, and there are {}", .known.len())]
    AmbiguousService {
        /// The services there are.
        known: Vec<ServiceName>,
    },
    /// The backend to add is there.
    #[error("service {service} already has the backend {address}")]
    AlreadyThere {
        /// The service.
        service: ServiceName,
        /// The backend.
        address: SocketAddr,
    },
    /// The backend to remove comes from the config file, which would bring it back.
    #[error("backend {address} of service {service} comes from the config file")]
    FromConfig {
        /// The service.
        service: ServiceName,
        /// The backend.
        address: SocketAddr,
    },
    /// The service is full.
    #[error("service {service} already has {most} backends, the most that are possible")]
    TooMany {
        /// The service.
        service: ServiceName,
        /// [`crate::model::MAX_BACKENDS`].
        most: usize,
    },
    /// An IPv4 backend for an IPv6 VIP, or the other way round.
    #[error("backend {address} is not of the address family of the VIP {vip}")]
    FamilyMismatch {
        /// The service's virtual address.
        vip: SocketAddr,
        /// The backend.
        address: SocketAddr,
    },
    /// A connection to the backend would be sent to the backend, for ever.
    #[error("backend {address} is the VIP of a service")]
    BackendIsVip {
        /// The backend.
        address: SocketAddr,
    },
    /// Nothing listens on port 0.
    #[error("backend {address} has port 0")]
    ZeroPort {
        /// The backend.
        address: SocketAddr,
    },
}

impl OperatorError {
    /// The name that scripts match on: the variant's, in camelCase.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownService { .. } => "unknownService",
            Self::UnknownBackend { .. } => "unknownBackend",
            Self::AmbiguousService { .. } => "ambiguousService",
            Self::AlreadyThere { .. } => "alreadyThere",
            Self::FromConfig { .. } => "fromConfig",
            Self::TooMany { .. } => "tooMany",
            Self::FamilyMismatch { .. } => "familyMismatch",
            Self::BackendIsVip { .. } => "backendIsVip",
            Self::ZeroPort { .. } => "zeroPort",
        }
    }

    /// The remedy, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownService { known, .. } => Some(format!("known services: {}", joined(known))),
            Self::AmbiguousService { known } => Some(format!("name one with --service: {}", joined(known))),
            Self::UnknownBackend { .. } => Some("`lbctl backends` lists them".to_owned()),
            Self::AlreadyThere { .. } => None,
            Self::FromConfig { address, .. } => {
                Some(format!("remove it from the config file, or run `lbctl backends disable {address}`"))
            }
            Self::TooMany { .. } => Some("remove one first".to_owned()),
            Self::FamilyMismatch { .. } => Some("use a service of that family".to_owned()),
            Self::BackendIsVip { .. } => Some("give the address of a real server".to_owned()),
            Self::ZeroPort { .. } => Some("give the port that the backend listens on".to_owned()),
        }
    }
}

fn joined(names: &[ServiceName]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn every_error() -> Vec<OperatorError> {
        let service: ServiceName = "apiserver".parse().unwrap();
        let address: SocketAddr = "192.168.0.2:6443".parse().unwrap();
        let known = vec![service.clone()];
        vec![
            OperatorError::UnknownService { name: service.clone(), known: known.clone() },
            OperatorError::UnknownBackend { service: service.clone(), address },
            OperatorError::AmbiguousService { known },
            OperatorError::AlreadyThere { service: service.clone(), address },
            OperatorError::FromConfig { service: service.clone(), address },
            OperatorError::TooMany { service, most: 64 },
            OperatorError::FamilyMismatch { vip: address, address },
            OperatorError::BackendIsVip { address },
            OperatorError::ZeroPort { address },
        ]
    }

    #[test]
    fn the_code_is_the_tag_in_json_and_errors_survive_the_wire() {
        for error in every_error() {
            let json = serde_json::to_value(&error).unwrap();
            assert_eq!(json["code"], error.code());
            assert_eq!(serde_json::from_value::<OperatorError>(json).unwrap(), error);
        }
    }

    #[test]
    fn errors_about_the_service_name_the_ones_there_are() {
        let known = vec!["apiserver".parse().unwrap(), "etcd".parse().unwrap()];
        let unknown = OperatorError::UnknownService { name: "web".parse().unwrap(), known: known.clone() };
        assert_eq!(unknown.to_string(), "no service is named web");
        assert_eq!(unknown.hint().unwrap(), "known services: apiserver, etcd");
        let ambiguous = OperatorError::AmbiguousService { known };
        assert_eq!(ambiguous.to_string(), "no service was named, and there are 2");
        assert_eq!(ambiguous.hint().unwrap(), "name one with --service: apiserver, etcd");
    }

    #[test]
    fn removing_what_the_config_names_points_at_the_file_and_at_disabling() {
        let error = OperatorError::FromConfig {
            service: "apiserver".parse().unwrap(),
            address: "192.168.0.2:6443".parse().unwrap(),
        };
        assert_eq!(
            error.hint().unwrap(),
            "remove it from the config file, or run `lbctl backends disable 192.168.0.2:6443`"
        );
    }
}
