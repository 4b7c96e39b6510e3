use std::time::Duration;

use clap::Args;

use super::spelling::{self, Given, Header};

/// lvscare's flags. Their variables begin with CARE_.
#[cfg(test)]
pub(in crate::cli) const LVSCARE_FLAGS: [&str; 19] = [
    "vs",
    "rs",
    "scheduler",
    "iface",
    "logger",
    "mode",
    "run-once",
    "clean",
    "interval",
    "ip",
    "masqueradebit",
    "health-path",
    "health-schem",
    "health-req-method",
    "health-req-body",
    "health-req-headers",
    "health-status",
    "health-insecure-skip-verify",
    "health-timeout",
];

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "lvscare's flags")]
pub(super) struct CareFlags {
    /// The virtual address
    #[arg(long, value_name = "ADDR:PORT", env = "CARE_VS", hide_env = true)]
    pub(super) vs: String,
    /// A real server; give it once for each, or separate them by commas
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',', env = "CARE_RS", hide_env = true)]
    pub(super) rs: Vec<String>,
    /// How a real server is chosen [default: rr]
    #[arg(long, value_name = "rr|wrr|lc|wlc|sh|dh", value_parser = spelling::one_of(&["rr", "wrr", "lc", "wlc", "sh", "dh"]),
        env = "CARE_SCHEDULER", hide_env = true)]
    pub(super) scheduler: Option<Given<&'static str>>,
    /// No meaning any more: no interface is made
    #[arg(short, long, value_name = "NAME", env = "CARE_IFACE", hide_env = true)]
    pub(super) iface: Option<String>,
    /// DEBG logs as --log-level debug does
    #[arg(long, value_name = "INFO|DEBG", env = "CARE_LOGGER", hide_env = true)]
    pub(super) logger: Option<String>,
    /// link: pods are served too, as with --scope node
    #[arg(long, value_name = "route|link", value_parser = spelling::one_of(&["route", "link"]),
        env = "CARE_MODE", hide_env = true)]
    pub(super) mode: Option<Given<&'static str>>,
    /// Probe, program and verify, then exit and leave it in place; exit 3 if nobody is healthy
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "true|false", value_parser = spelling::switch, env = "CARE_RUN_ONCE", hide_env = true)]
    pub(super) run_once: Option<Given<bool>>,
    /// Remove everything that lbctl made on this node and exit, as lbctl cleanup does
    #[arg(short = 'C', long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "true|false", value_parser = spelling::switch, env = "CARE_CLEAN", hide_env = true)]
    pub(super) clean: Option<Given<bool>>,
    /// From one probe to the next [default: 5s]
    #[arg(long, value_name = "SECONDS|DURATION", value_parser = spelling::span, allow_hyphen_values = true,
        env = "CARE_INTERVAL", hide_env = true)]
    pub(super) interval: Option<Given<Duration>>,
    /// No meaning any more: no route is made
    #[arg(long, value_name = "ADDR", env = "CARE_IP", hide_env = true)]
    pub(super) ip: Option<String>,
    /// No meaning any more: no packet is marked
    #[arg(long, value_name = "N", allow_hyphen_values = true, env = "CARE_MASQUERADEBIT", hide_env = true)]
    pub(super) masqueradebit: Option<String>,
    #[command(flatten)]
    pub(super) health: CareHealthFlags,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "lvscare's flags for health checks")]
pub(super) struct CareHealthFlags {
    /// What is asked for [default: /healthz]
    #[arg(long = "health-path", value_name = "PATH", env = "CARE_HEALTH_PATH", hide_env = true)]
    pub(super) path: Option<String>,
    /// How real servers are probed [default: https]
    #[arg(long = "health-schem", value_name = "https|http", value_parser = spelling::one_of(&["https", "http"]),
        env = "CARE_HEALTH_SCHEM", hide_env = true)]
    pub(super) schem: Option<Given<&'static str>>,
    /// The method of the request [default: GET]
    #[arg(
        long = "health-req-method",
        value_name = "METHOD",
        env = "CARE_HEALTH_REQ_METHOD",
        hide_env = true
    )]
    pub(super) req_method: Option<String>,
    /// What the request carries
    #[arg(
        long = "health-req-body",
        value_name = "TEXT",
        allow_hyphen_values = true,
        env = "CARE_HEALTH_REQ_BODY",
        hide_env = true
    )]
    pub(super) req_body: Option<String>,
    /// Headers of the request; several are separated by commas, as are several values of a single one
    #[arg(long = "health-req-headers", value_name = "NAME=VALUE", value_parser = spelling::headers,
        env = "CARE_HEALTH_REQ_HEADERS", hide_env = true)]
    pub(super) req_headers: Vec<Given<Vec<Header>>>,
    /// Status codes from 400 on that are healthy too
    #[arg(long = "health-status", value_name = "CODE", value_delimiter = ',', value_parser = spelling::code,
        env = "CARE_HEALTH_STATUS", hide_env = true)]
    pub(super) status: Vec<Given<u16>>,
    /// Trust any certificate [default: true]; false: only those of the cluster's CA
    #[arg(long = "health-insecure-skip-verify", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "true|false", value_parser = spelling::switch,
        env = "CARE_HEALTH_INSECURE_SKIP_VERIFY", hide_env = true)]
    pub(super) insecure_skip_verify: Option<Given<bool>>,
    /// The longest wait for an answer, at most the interval [default: 10s]
    #[arg(long = "health-timeout", value_name = "DURATION", value_parser = spelling::span,
        allow_hyphen_values = true, env = "CARE_HEALTH_TIMEOUT", hide_env = true)]
    pub(super) timeout: Option<Given<Duration>>,
}

impl CareFlags {
    pub(super) fn wants_debug(&self) -> bool {
        self.logger.as_deref() == Some("DEBG")
    }
}
