//! The socket dataplane's state as data, and the way from one state to another. Pure.

use std::{collections::BTreeSet, fmt};

use lb_core::{desired::DesiredState, model::Scope};

use super::{
    hook::Hook,
    rescue::{self, RescueChange, RescueState},
};
use crate::dataplane::services::{self, ServiceChange, Services};

/// What the kernel holds, or should hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SocketState {
    /// Programs that are attached to the right cgroup.
    pub hooks: BTreeSet<Hook>,
    /// Whose sockets are served; `None`: those of a namespace that is not ours, or nobody's yet.
    pub scope: Option<Scope>,
    /// Each service under its VIP.
    pub services: Services,
    /// What sends connections that are not answered to another backend.
    pub rescue: RescueState,
}

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Attach a program.
    Attach(Hook),
    /// Say whose sockets are served; `None`: nobody's from now on.
    SetScope(Option<Scope>),
    /// Change the tables.
    Service(ServiceChange),
    /// Change what sends connections to another backend.
    Rescue(RescueChange),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(hook) => write!(f, "attach {hook}"),
            Self::SetScope(Some(scope)) => write!(f, "serve sockets of scope {scope}"),
            Self::SetScope(None) => f.write_str("serve no new connects"),
            Self::Service(change) => change.fmt(f),
            Self::Rescue(change) => change.fmt(f),
        }
    }
}

/// What the kernel of the node with this name should hold; without a scope it leaves new connects alone.
pub fn lower(desired: &DesiredState, scope: Option<Scope>, node: &str) -> SocketState {
    let services = services::lower(desired, node);
    SocketState { hooks: Hook::ALL.into_iter().collect(), scope, services, rescue: RescueState::default() }
}

/// The mutations from `observed` to `wanted`, in order: hooks and scope, then what comes, then what goes, and last what mends a
/// connect().
pub fn diff(observed: &SocketState, wanted: &SocketState) -> Vec<Change> {
    let mut changes: Vec<_> = wanted.hooks.difference(&observed.hooks).copied().map(Change::Attach).collect();
    if observed.scope != wanted.scope {
        changes.push(Change::SetScope(wanted.scope));
    }
    changes.extend(services::diff(&observed.services, &wanted.services).into_iter().map(Change::Service));
    let rescue = rescue::diff(&observed.rescue, &wanted.rescue, &wanted.services);
    changes.extend(rescue.into_iter().map(Change::Rescue));
    changes
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::dataplane::services::native::{Choice, Serving, TableService};

    #[test]
    fn from_nothing_hooks_and_scope_come_before_services() {
        let at = SocketAddr::from(([192, 168, 0, 1], 6443));
        let service = TableService {
            name: "apiserver".parse().unwrap(),
            serving: Serving { policy: Choice::Random, weights: [(at, 1)].into(), reserve: [].into() },
            members: [at].into(),
        };
        let wanted = SocketState {
            hooks: Hook::ALL.into_iter().collect(),
            scope: Some(Scope::Host),
            services: [(at, service)].into(),
            rescue: RescueState::default(),
        };
        let changes = diff(&SocketState::default(), &wanted);
        let first_service = changes.iter().position(|c| matches!(c, Change::Service(_))).unwrap();
        assert_eq!(first_service, Hook::ALL.len() + 1);
        assert!(matches!(changes[Hook::ALL.len()], Change::SetScope(Some(Scope::Host))));
    }
}
