//! What the controller shows of itself.

use super::{Controller, Now, Tracked, membership, track::Drain};
use crate::{
    config::ServiceConfig,
    desired::{OutWhy, STEPS, ServingWhy, Standing},
    model::{BackendKey, Dataplanes},
    view::{BackendView, ConnectionsView, ProbeView, ServiceView, TransitionView},
};

impl Controller {
    /// Every service with its backends; connection counters are left at zero.
    pub fn services(&self, now: Now, dataplanes: Dataplanes) -> Vec<ServiceView> {
        let view = |service: &ServiceConfig| ServiceView {
            name: service.name.clone(),
            vip: service.vip,
            hostname: service.hostname.clone(),
            dataplane: dataplanes.first(),
            dataplanes: dataplanes.kinds().to_vec(),
            policy: service.policy,
            backends: membership::members(service, &self.state, &self.listing(service))
                .into_iter()
                .filter_map(|member| {
                    let key = BackendKey { service: service.name.clone(), address: member.address };
                    self.backend_view(now, service, &key)
                })
                .collect(),
        };
        let mut services: Vec<_> = self.config.services.iter().map(view).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services
    }

    /// The last transitions, newest first.
    pub fn transitions(&self) -> impl Iterator<Item = &TransitionView> {
        self.transitions.iter()
    }

    /// Services that no backend serves.
    pub fn unserved(&self) -> impl Iterator<Item = &ServiceConfig> {
        let serves = |s: &&ServiceConfig| self.of_service(s).any(|(_, t)| t.standing.is_serving());
        self.config.services.iter().filter(move |s| !serves(s))
    }

    pub(super) fn backend_view(
        &self,
        now: Now,
        service: &ServiceConfig,
        key: &BackendKey,
    ) -> Option<BackendView> {
        let tracked = self.backends.get(key)?;
        debug_assert_eq!(service.name, key.service);
        let Tracked { member, machine, standing, .. } = tracked;
        let since = machine.since().map(|at| now.wall - now.instant.saturating_duration_since(at));
        let millis = |d: std::time::Duration| (d.as_secs_f64() * 1e5).round() / 1e2;
        Some(BackendView {
            address: key.address,
            source: member.source,
            admin: member.admin,
            health: machine.health(),
            serving: standing.is_serving(),
            reason: reason(tracked),
            since,
            weight: member.weight,
            local: self.is_local(key.address),
            connections: ConnectionsView::default(),
            probe: ProbeView { latency_ms: machine.latency().map(millis), failures: machine.failures() },
        })
    }
}

/// What the backend said, and why it serves or does not where that does not follow.
fn reason(tracked: &Tracked) -> Option<String> {
    let said = tracked.machine.reason();
    let until = tracked.member.drain_until;
    let standing = match tracked.standing {
        Standing::Serving(ServingWhy::Up | ServingWhy::Local) => {
            tracked.ramp.map(|ramp| format!("slow start: {}/{STEPS} of its weight", ramp.step))
        }
        Standing::Serving(
            ServingWhy::Adopted | ServingWhy::NoneUp | ServingWhy::NoneListed | ServingWhy::AllDown(_),
        ) => Some(tracked.standing.to_string()),
        Standing::Out(OutWhy::Down(_) | OutWhy::NeverUp(_)) if said.is_some() => None,
        Standing::Out(OutWhy::Draining) => Some(match (until, tracked.drain) {
            (Some(until), Drain::Until(_)) => format!("{}, connections end at {until:.0}", tracked.standing),
            (Some(_), Drain::Over) => "drained by operator".to_owned(),
            (_, Drain::Unbounded) | (None, _) => tracked.standing.to_string(),
        }),
        Standing::Out(_) => Some(tracked.standing.to_string()),
    };
    match (said, standing) {
        (Some(said), Some(standing)) => Some(format!("{said}; {standing}")),
        (said, standing) => said.or(standing),
    }
}
