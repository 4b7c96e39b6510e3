mod change;
mod kernel;
mod list;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Subcommand};
use lb_core::{
    config::ConfigDuration,
    model::{Admin, ServiceName},
    operator::OperatorRequest,
};

pub(super) use self::list::held_services;

use self::change::change;
use super::{exit::Exit, globals::Globals};

/// List the backends, or say which of them shall serve
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lbctl backends
  lbctl backends -o wide
  lbctl backends drain 192.168.0.2:6443 --timeout 60s
  lbctl backends add 192.168.0.5:6443 --weight 2 --service apiserver

Without an agent the list shows what the kernel holds.")]
pub(super) struct Backends {
    #[command(subcommand)]
    action: Option<Action>,
    /// Where to read the kernel's state when no agent runs [default: the config's]
    #[arg(long, global = true, value_name = "PATH", env = "LBCTL_BPFFS", hide_env = true)]
    bpffs: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every backend of every service (the default)
    List,
    /// Let it take no new connections; those established stay, or end after a time
    Drain {
        #[command(flatten)]
        target: Target,
        /// End those that are still there after so long, such as 60s [default: leave them alone]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Let it take connections while it is healthy
    Enable(Target),
    /// Let it take no new connections; those established are ended as onDown says
    Disable(Target),
    /// Add a backend until the config file says something else about it
    Add {
        #[command(flatten)]
        target: Target,
        /// Its share, relative to the others; 0: no new connections
        #[arg(long, value_name = "N", default_value_t = 1, env = "LBCTL_WEIGHT", hide_env = true)]
        weight: u16,
    },
    /// Remove a backend that was added
    Remove(Target),
}

#[derive(Debug, Args)]
struct Target {
    /// The backend, such as 192.168.0.2:6443 or [fd00::2]:6443
    #[arg(value_name = "ADDR", value_parser = address)]
    address: SocketAddr,
    /// Its service; needed where there are several
    #[arg(long, value_name = "NAME", value_parser = service, env = "LBCTL_SERVICE", hide_env = true)]
    service: Option<ServiceName>,
}

/// The value of a flag that names a backend.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write it as 192.168.0.2:6443 or [fd00::2]:6443".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<ConfigDuration>();
    parsed.map(ConfigDuration::get).map_err(|error| format!("{error} ({})", error.hint()))
}

/// The value of a flag that names a service.
pub(super) fn service(text: &str) -> Result<ServiceName, String> {
    text.parse().map_err(|error: lb_core::model::NameError| error.to_string())
}

impl Backends {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let set = |Target { address, service }, admin| OperatorRequest::SetAdmin { service, address, admin };
        let request = match self.action {
            None | Some(Action::List) => return list::list(self.bpffs, globals),
            Some(Action::Drain { target, timeout: None }) => set(target, Admin::Draining),
            Some(Action::Drain { target: Target { address, service }, timeout: Some(timeout) }) => {
                OperatorRequest::Drain { service, address, timeout }
            }
            Some(Action::Enable(target)) => set(target, Admin::Active),
            Some(Action::Disable(target)) => set(target, Admin::Disabled),
            Some(Action::Add { target: Target { address, service }, weight }) => {
                OperatorRequest::Add { service, address, weight }
            }
            Some(Action::Remove(Target { address, service })) => OperatorRequest::Remove { service, address },
        };
        change(request, globals)
    }
}
