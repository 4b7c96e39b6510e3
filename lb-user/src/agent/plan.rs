//! What an agent would change, without changing it.

use std::{collections::BTreeSet, time::Instant};

use jiff::Timestamp;
use lb_core::{
    control::{Adopted, Controller, Effect, Now},
    desired::DesiredState,
    hosts::{self, Entry, Status},
};

use super::AgentError;
use crate::{
    cli::source::ConfigSource,
    dataplane::{
        Dataplane as _, DataplaneError,
        socket::{Change, SocketDataplane, SocketState, lower},
    },
    os::{bpffs, cgroup, hosts::HostsFile, state_file::StateFile},
};

/// What would be changed, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the kernel.
    pub kernel: Vec<String>,
    /// In the hosts file.
    pub hosts: Vec<String>,
}

/// What an agent with this configuration would change now. Backends that serve are taken to go on serving, others
/// to be down: who is healthy only probes tell.
pub fn plan(source: &ConfigSource) -> Result<Plan, AgentError> {
    let config = source.load()?;
    let cgroup = cgroup::find(config.cgroup.as_deref())?;
    let observed = SocketDataplane::peek(&config.bpffs, Some(&cgroup))?.unwrap_or_default();
    let entries = config.hosts_entries();
    let hosts = if config.hosts.manage { plan_hosts(&config.hosts.path, &entries)? } else { Vec::new() };
    let mut kernel = Vec::new();
    if !bpffs::lies_on_bpffs(&config.bpffs)? {
        kernel.push(format!("mount a BPF file system for {}", config.bpffs.display()));
    }
    let (state, _) = StateFile::new(&config.state_dir).load();
    let scope = config.scope;
    let desired = first_desired(config, &state, &observed);
    let wanted = lower(&desired, scope).map_err(DataplaneError::from)?;
    kernel.extend(SocketDataplane::diff(&observed, &wanted).iter().map(Change::to_string));
    Ok(Plan { kernel, hosts })
}

fn first_desired(
    config: lb_core::config::Config,
    state: &lb_core::state::State,
    observed: &SocketState,
) -> DesiredState {
    let pairs = |(vip, service): (&std::net::SocketAddr, &crate::dataplane::socket::SocketService)| {
        service.serving.weights.keys().map(|address| (*vip, *address)).collect::<Vec<_>>()
    };
    let adopted =
        Adopted { serving: observed.services.iter().flat_map(pairs).collect(), active: Default::default() };
    let now = Now { instant: Instant::now(), wall: Timestamp::now() };
    let (_, effects) = Controller::new(config.into(), state, &adopted, BTreeSet::new(), now, 0);
    let programs = effects.into_iter().filter_map(|effect| match effect {
        Effect::Program { desired, .. } => Some(DesiredState::clone(&desired)),
        Effect::StartProber(_)
        | Effect::StopProber(_)
        | Effect::Probe { .. }
        | Effect::Persist(_)
        | Effect::Hosts(_)
        | Effect::Announce(_)
        | Effect::Answer { .. } => None,
    });
    programs.last().unwrap_or_default()
}

fn plan_hosts(path: &std::path::Path, entries: &[Entry]) -> Result<Vec<String>, AgentError> {
    let object = path.display().to_string();
    let content = HostsFile::new(path).read().map_err(DataplaneError::failed("read", object.clone()))?;
    let Some(content) = content else {
        return Ok(vec![format!("create {object}")]);
    };
    let status = hosts::inspect(&content, entries).map_err(DataplaneError::failed("read", object.clone()))?;
    Ok(match status {
        Status::InPlace => Vec::new(),
        Status::Missing => vec![format!("write our block into {object}")],
        Status::Differs => vec![format!("bring our block in {object} up to date")],
        Status::Shadowed { by } => {
            let lines = by.iter().map(|line| format!("comment out line {} of {object}", line.number));
            lines.chain([format!("write our block into {object}")]).collect()
        }
    })
}
