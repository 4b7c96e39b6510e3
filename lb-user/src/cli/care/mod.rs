//! `lbctl care`: lvscare's command line. `flags` is what it takes, `spelling` how values are written there, `mapping` what
//! becomes of them.

mod flags;
mod mapping;
mod spelling;
#[cfg(test)]
mod tests;

use anyhow::Context as _;
use clap::Args;
use lb_core::config::Overrides;

use self::{
    flags::CareFlags,
    mapping::{Action, Choice, Mapped},
};
use super::{
    cleanup,
    exit::Exit,
    globals::Globals,
    known::Paths,
    logging::LogLevel,
    overrides::NodeArgs,
    run,
    source::{ConfigSource, ConfigSourceError},
};
use crate::{
    agent::{self, AgentError, Ended, Once, RunOptions, chain},
    dataplane::{DataplaneError, socket::BpfLog},
    os::bpffs,
};

#[cfg(test)]
pub(super) use self::flags::LVSCARE_FLAGS;

/// Run the agent with lvscare's command line
///
/// Takes what a static pod gave to lvscare, in its place: the same flags, defaults and variables. A real server is healthy
/// when it answers with a status below 400, or one of --health-status. What has no meaning any more is accepted, with a
/// note in the log. No config file is read, and the hosts file is left alone.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  lbctl care --vs 10.103.97.2:6443 --rs 192.168.0.2:6443 --rs 192.168.0.3:6443
  lbctl care --vs 10.103.97.2:6443 --rs 192.168.0.2:6443 --health-path /healthz --run-once
  lbctl care --vs 10.103.97.2:6443 --clean

Each of lvscare's flags can also be given in the environment: --health-path as CARE_HEALTH_PATH. An empty value counts as \
none. Those of the node are lbctl's own: --dataplane is LBCTL_DATAPLANE there. Without it, ipvs is used where the BPF file \
system is not the host's: in a pod that does not mount it, nothing else would outlive the pod."
)]
pub(super) struct Care {
    #[command(flatten)]
    flags: CareFlags,
    #[command(flatten)]
    node: NodeArgs,
}

impl Care {
    /// The louder of what `--log-level` and `--logger` ask for.
    pub(super) fn log_level(&self, asked: LogLevel) -> LogLevel {
        if self.flags.wants_debug() { asked.max(LogLevel::Debug) } else { asked }
    }

    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let Mapped { overrides, action, notes } = mapping::map(self.flags, self.node.overrides(globals));
        if let Some(path) = &globals.config {
            tracing::info!("--config {} is not read: care takes its flags alone", path.display());
        }
        notes.iter().for_each(|note| tracing::info!("{note}"));
        let once = match action {
            Action::Clean => return cleanup::clean(&Paths::of_flags(&overrides)?, globals),
            Action::RunOnce => Some(Once { wait: None }),
            Action::Run => None,
        };
        let ended = run_agent(overrides, once).context("failed to run the agent")?;
        Ok(run::conclude(ended, None))
    }
}

fn run_agent(overrides: Overrides, once: Option<Once>) -> Result<Ended, AgentError> {
    let source = ConfigSource { path: None, overrides };
    let config = source.load().map_err(in_lvscares_words)?;
    let pins_outlive_us = bpffs::lies_on_bpffs(&config.bpffs)?;
    match mapping::choose_dataplane(source.overrides.dataplane.clone(), pins_outlive_us) {
        Choice::One(name) => run_on(&source, name, once),
        Choice::IpvsElseAuto => match run_on(&source, Some("ipvs".to_owned()), once) {
            Err(AgentError::Dataplane(error @ DataplaneError::Missing { .. })) => {
                let error = chain(&error);
                tracing::warn!(error, "ipvs cannot be used here; what takes its place may end with this pod");
                run_on(&source, None, once)
            }
            ended => ended,
        },
    }
}

fn run_on(source: &ConfigSource, dataplane: Option<String>, once: Option<Once>) -> Result<Ended, AgentError> {
    let overrides = Overrides { dataplane, ..source.overrides.clone() };
    let source = ConfigSource { path: None, overrides };
    agent::run(RunOptions { source, once, bpf_log: BpfLog::Off })
}

fn in_lvscares_words(error: ConfigSourceError) -> ConfigSourceError {
    match error {
        ConfigSourceError::Invalid(errors) => ConfigSourceError::Invalid(mapping::in_lvscares_words(errors)),
        error @ ConfigSourceError::Read { .. } => error,
    }
}
