//! What an agent would change, without changing it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use jiff::Timestamp;
use lb_core::{
    config::Config,
    control::{Adopted, Controller, Effect, Now},
    desired::DesiredState,
    hosts::{self, Entry, Status},
    state::State,
};

use super::AgentError;
use crate::{
    cli::source::ConfigSource,
    dataplane::{self, DataplaneError},
    os::{hosts::HostsFile, state_file::StateFile},
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
    let entries = config.hosts_entries();
    let hosts = if config.hosts.manage { plan_hosts(&config.hosts.path, &entries)? } else { Vec::new() };
    let (state, _) = StateFile::new(&config.state_dir).load();
    let held = dataplane::peek(&config.bpffs, &config.state_dir)?.unwrap_or_default();
    let config = Arc::new(config);
    let desired = first_desired(config.clone(), &state, &held.adopted());
    Ok(Plan { kernel: dataplane::plan(&config, &desired)?, hosts })
}

fn first_desired(config: Arc<Config>, state: &State, adopted: &Adopted) -> DesiredState {
    let now = Now { instant: Instant::now(), wall: Timestamp::now() };
    let (_, effects) = Controller::new(config, state, adopted, BTreeSet::new(), now, 0);
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
