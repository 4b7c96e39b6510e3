use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use lb_core::config::ConfigDuration;

use super::{exit::Exit, globals::Globals, overrides::ConfigArgs, print};
use crate::{
    agent::{self, Ended, Once, RunOptions},
    dataplane::socket::BpfLog,
};

/// Run the node agent in the foreground
///
/// Maps the VIP to the healthy backends inside this node's kernel and keeps the name in the hosts file. SIGTERM and
/// SIGINT end it and leave everything in place, so that no connection notices; `lbctl cleanup` removes it.
/// SIGHUP, and a change of the config file, reload the config.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl run
  lbctl run -c ./config.yaml --log-level debug
  lbctl run --vip 10.103.97.2:6443 --backend 192.168.0.2:6443 --backend 192.168.0.3:6443 \\
      --hostname apiserver.cluster.local
  lbctl run --once --wait 60s && kubeadm join ...

Durations are written 500ms, 2s, 1m. A flag about the service changes the config file's only service.")]
pub(super) struct Run {
    /// Probe, program and verify, then exit and leave it in place
    #[arg(long, env = "LBCTL_ONCE", hide_env = true)]
    once: bool,
    /// With --once: wait this long for a healthy backend; exit 3 if there is none
    #[arg(long, requires = "once", value_name = "DURATION", value_parser = duration, env = "LBCTL_WAIT",
        hide_env = true)]
    wait: Option<Duration>,
    /// What the kernel programs log; debug costs time on each connect
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "off|debug",
        env = "LBCTL_BPF_LOG",
        hide_env = true
    )]
    bpf_log: KernelLog,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum KernelLog {
    #[default]
    Off,
    Debug,
}

impl From<KernelLog> for BpfLog {
    fn from(log: KernelLog) -> Self {
        match log {
            KernelLog::Off => Self::Off,
            KernelLog::Debug => Self::Debug,
        }
    }
}

/// A duration as the config file writes it.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<ConfigDuration, _> = text.parse();
    parsed.map(ConfigDuration::get).map_err(|error| format!("{error}; {}", error.hint()))
}

impl Run {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let Self { once, wait, bpf_log, config } = self;
        let once = once.then_some(Once { wait });
        let options = RunOptions { source: config.source(globals), once, bpf_log: bpf_log.into() };
        Ok(conclude(agent::run(options).context("failed to run the agent")?, wait))
    }
}

/// Says how an agent ended that may have waited for a healthy backend.
pub(super) fn conclude(ended: Ended, waited: Option<Duration>) -> Exit {
    match ended {
        Ended::Done => Exit::Done,
        Ended::NoHealthyBackend => {
            let waited = waited.map(|wait| format!(" within {}", ConfigDuration::from(wait)));
            let waited = waited.unwrap_or_default();
            print::error(&anyhow::anyhow!(
                "no backend is healthy{waited}; hint: see the reasons logged above"
            ));
            Exit::NoHealthyBackend
        }
    }
}
