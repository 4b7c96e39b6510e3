//! What the agent shows of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use lb_core::{
    config::Config,
    control::{Adopted, Controller, Now, Pair},
    desired::DesiredService,
    model::{DataplaneKind, Dataplanes},
    view::{AgentView, ConnectionsView, DataplaneView, HostsView, ServiceView, StatusView},
};

use super::{keepers::Kept, reconcile::Reconciled};
use crate::{
    admin::Snapshot,
    dataplane::{Counters, Inspection},
};

/// What is known besides the controller's verdicts.
pub(super) struct Published {
    why: String,
    config_path: Option<PathBuf>,
    /// What went wrong at the start, and stays so.
    since_start: Vec<String>,
    started: Timestamp,
    /// When the config in force was read.
    pub(super) config_loaded: Timestamp,
    /// Why the newest config is not in force.
    pub(super) config_error: Option<String>,
    needs_restart: Vec<&'static str>,
    /// The newest order to the reconciler, and the newest that the kernel follows.
    pub(super) ordered: u64,
    applied: Option<u64>,
    /// The newest order that the reconciler has been through, with or without success.
    pub(super) reported: u64,
    error: Option<String>,
    inspection: Option<Inspection>,
    dataplanes: Dataplanes,
    /// Why the node did not move to the dataplanes that the config names.
    switch_error: Option<String>,
    /// Who takes new connections, by what the kernel was last seen to hold.
    in_force: BTreeSet<Pair>,
    /// Whether the hosts file is as it should be; `None`: not looked at yet.
    pub(super) hosts: Option<Kept>,
    /// Whether the state is on disk.
    pub(super) state: Option<Kept>,
}

impl Published {
    pub(super) fn new(
        (dataplanes, why): (Dataplanes, String),
        adopted: &Adopted,
        config_path: Option<PathBuf>,
        now: Now,
    ) -> Self {
        Self {
            dataplanes,
            why,
            switch_error: None,
            in_force: adopted.serving.clone(),
            config_path,
            since_start: Vec::new(),
            started: now.wall,
            config_loaded: now.wall,
            config_error: None,
            needs_restart: Vec::new(),
            ordered: 0,
            applied: None,
            reported: 0,
            error: None,
            inspection: None,
            hosts: None,
            state: None,
        }
    }

    /// Warns from now on of something that went wrong at the start, and that only another start can mend.
    pub(super) fn complain(&mut self, complaint: String) {
        self.since_start.push(complaint);
    }

    /// The dataplanes in use.
    pub(super) fn dataplanes(&self) -> Dataplanes {
        self.dataplanes
    }

    /// Why it is these.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Notes why another dataplane is taken, or the same for another reason.
    pub(super) fn explain(&mut self, why: String) {
        self.why = why;
    }

    /// Notes how a move to another dataplane ended.
    pub(super) fn switched(&mut self, switched: Result<Dataplanes, String>) {
        match switched {
            Ok(dataplanes) => {
                tracing::info!(%dataplanes, "moved to another dataplane");
                self.dataplanes = dataplanes;
                self.inspection = None;
                self.switch_error = None;
            }
            Err(error) => {
                tracing::error!("failed to move to another dataplane: {error}");
                self.why = format!("{}, which failed; the one before stays", self.why);
                self.switch_error = Some(error);
            }
        }
    }

    /// Takes over what a comparison of the kernel's state showed.
    pub(super) fn take(&mut self, reconciled: Reconciled) {
        if reconciled.error.is_some() && self.error != reconciled.error {
            tracing::error!("{}", reconciled.error.as_deref().unwrap_or_default());
        }
        self.reported = reconciled.generation;
        if reconciled.error.is_none() {
            self.applied = Some(reconciled.generation);
            let pairs = |s: &DesiredService| s.serving.iter().map(|b| (s.vip, b.address)).collect::<Vec<_>>();
            self.in_force = reconciled.desired.services.iter().flat_map(pairs).collect();
        }
        self.error = reconciled.error;
        let ineffective = reconciled.inspection.as_ref().and_then(|i| i.ineffective.as_ref());
        if ineffective.is_some() && ineffective != self.ineffective() {
            tracing::error!("the dataplane is not effective: {}", ineffective.map_or("", |why| why));
        }
        self.inspection = reconciled.inspection.or_else(|| self.inspection.take());
    }

    fn ineffective(&self) -> Option<&String> {
        self.inspection.as_ref().and_then(|i| i.ineffective.as_ref())
    }

    /// Whether the kernel follows the newest order, and is proven to.
    pub(super) fn is_programmed(&self) -> bool {
        self.applied == Some(self.ordered) && self.error.is_none() && self.ineffective().is_none()
    }

    /// What keeps the node from being as it should be.
    pub(super) fn complaint(&self) -> Option<String> {
        let hosts = self.hosts.as_ref().and_then(|kept| kept.as_ref().err());
        self.error.clone().or_else(|| self.ineffective().cloned()).or_else(|| hosts.cloned())
    }

    /// Notes a new config, and which of its changes only a restart brings about.
    pub(super) fn reloaded(&mut self, old: &Config, new: &Config, at: Timestamp) {
        self.config_loaded = at;
        self.needs_restart = fixed_at_start(old, new, self.dataplanes);
        if !self.needs_restart.is_empty() {
            tracing::warn!("{}", restart_hint(&self.needs_restart));
        }
    }

    /// Everything, for the servers.
    pub(super) fn snapshot(
        &self,
        controller: &Controller,
        config: &Config,
        now: Now,
        complaints: Vec<String>,
    ) -> Snapshot {
        let status = StatusView {
            agent: AgentView {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: self.started,
                config: self.config_path.clone(),
                config_loaded: self.config_loaded,
                config_error: self.config_error.clone(),
            },
            dataplane: DataplaneView {
                kind: self.dataplanes.first(),
                kinds: self.dataplanes.kinds().to_vec(),
                why: self.why.clone(),
                scope: config.scope,
                effective: self.inspection.is_some() && self.ineffective().is_none(),
                error: self.error.clone().or_else(|| self.ineffective().cloned()),
                facts: self.inspection.as_ref().map(|i| i.facts.clone()).unwrap_or_default(),
            },
            hosts: HostsView {
                path: config.hosts.path.clone(),
                manage: config.hosts.manage,
                in_place: matches!(self.hosts, Some(Ok(()))),
                error: self.hosts.clone().and_then(Result::err),
            },
            services: self.services(controller, now),
            transitions: controller.transitions().cloned().collect(),
            warnings: self.warnings(controller, complaints),
        };
        Snapshot { status: Arc::new(status), ready: self.applied.is_some() }
    }

    /// Who serves is told as the kernel has it, which follows the verdicts some milliseconds later, or not at all.
    fn services(&self, controller: &Controller, now: Now) -> Vec<ServiceView> {
        let mut services = controller.services(now, self.dataplanes);
        for service in &mut services {
            for backend in &mut service.backends {
                backend.serving = self.in_force.contains(&(service.vip, backend.address));
            }
        }
        services
    }

    fn warnings(&self, controller: &Controller, complaints: Vec<String>) -> Vec<String> {
        let unserved = controller.unserved().map(|service| {
            format!("service {} has no backend that serves: connects to {} fail", service.name, service.vip)
        });
        let restart = (!self.needs_restart.is_empty()).then(|| restart_hint(&self.needs_restart));
        let state = self.state.clone().and_then(Result::err);
        let switch = self.switch_error.as_ref().map(|e| format!("failed to move to another dataplane: {e}"));
        let kernel = self.inspection.iter().flat_map(|i| i.warnings.iter().cloned());
        unserved
            .chain(restart)
            .chain(switch)
            .chain(self.since_start.iter().cloned())
            .chain(state)
            .chain(kernel)
            .chain(complaints)
            .collect()
    }
}

fn restart_hint(fields: &[&str]) -> String {
    let fields = fields.join(", ");
    format!("changed in the config but in force only after a restart, which drops no connection: {fields}")
}

/// Settings that are read once, some of them by a dataplane when it is opened.
fn fixed_at_start(old: &Config, new: &Config, in_use: Dataplanes) -> Vec<&'static str> {
    [
        ("rescue", in_use.has(DataplaneKind::Socket) && old.rescue != new.rescue),
        ("packet", in_use.has(DataplaneKind::Packet) && old.packet != new.packet),
        ("scope", old.scope != new.scope),
        ("cgroup", old.cgroup != new.cgroup),
        ("bpffs", old.bpffs != new.bpffs),
        ("stateDir", old.state_dir != new.state_dir),
        ("hosts", old.hosts != new.hosts),
        ("admin.socket", old.admin_socket != new.admin_socket),
        ("metrics.listen", old.metrics != new.metrics),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

/// Fills in what the kernel counted.
pub(super) fn fill_counters(status: &mut StatusView, counters: &BTreeMap<Pair, Counters>) {
    for service in &mut status.services {
        for backend in &mut service.backends {
            if let Some(counted) = counters.get(&(service.vip, backend.address)) {
                let Counters { active, total, refused } = *counted;
                backend.connections = ConnectionsView { active, total, refused };
            }
        }
    }
}
