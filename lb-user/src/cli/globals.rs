use std::path::PathBuf;

use clap::Args;

use super::logging::{LogFormat, LogLevel};
use crate::output::Format;

/// Flags that every command takes, before or after its name.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Globals {
    /// The config file [default: /etc/lbctl/config.yaml, if it exists]
    #[arg(short, long, global = true, value_name = "PATH", env = "LBCTL_CONFIG", hide_env = true)]
    pub(super) config: Option<PathBuf>,
    /// How data is printed
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|wide|json|yaml",
        env = "LBCTL_OUTPUT",
        hide_env = true
    )]
    pub(super) output: Format,
    /// The agent's unix socket [default: the config's, else /run/lbctl/lbctl.sock]
    #[arg(long, global = true, value_name = "PATH", env = "LBCTL_ADMIN_SOCKET", hide_env = true)]
    pub(super) admin_socket: Option<String>,
    /// The least severe messages that go to stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "error|warn|info|debug|trace",
        env = "LBCTL_LOG_LEVEL",
        hide_env = true
    )]
    pub(super) log_level: LogLevel,
    /// How messages are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json",
        env = "LBCTL_LOG_FORMAT",
        hide_env = true
    )]
    pub(super) log_format: LogFormat,
}
