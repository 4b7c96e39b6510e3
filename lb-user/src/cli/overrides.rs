use clap::{ArgAction, Args};
use lb_core::config::Overrides;

use super::{globals::Globals, source::ConfigSource};

/// Flags that stand for fields of the config file, or replace them.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Service (the only one)")]
struct ServiceArgs {
    /// The virtual address
    #[arg(long, value_name = "ADDR:PORT", env = "LBCTL_VIP", hide_env = true)]
    vip: Option<String>,
    /// A backend; give it once for each, or separate them by commas
    #[arg(
        long = "backend",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        env = "LBCTL_BACKEND",
        hide_env = true
    )]
    backends: Vec<String>,
    /// The name in the hosts file
    #[arg(long, value_name = "NAME", env = "LBCTL_HOSTNAME", hide_env = true)]
    hostname: Option<String>,
    /// How a backend is chosen
    #[arg(long, value_name = "random|round-robin|least-conn|sticky", env = "LBCTL_POLICY", hide_env = true)]
    policy: Option<String>,
    /// Whether this node's own backend goes first
    #[arg(long, value_name = "none|local", env = "LBCTL_PREFER", hide_env = true)]
    prefer: Option<String>,
    /// What becomes of connections to a dead backend
    #[arg(long, value_name = "reset|keep", env = "LBCTL_ON_DOWN", hide_env = true)]
    on_down: Option<String>,
    /// Who serves when no backend is up
    #[arg(long, value_name = "auto|all|refuse", env = "LBCTL_ON_ALL_DOWN", hide_env = true)]
    on_all_down: Option<String>,
    /// Silence of a host that still acknowledges packets, before its connections are ended
    #[arg(long, value_name = "DURATION", env = "LBCTL_DEAD_AFTER", hide_env = true)]
    dead_after: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Health checks")]
struct HealthArgs {
    /// How backends are probed
    #[arg(long, value_name = "https|http|tcp", env = "LBCTL_HEALTH_TYPE", hide_env = true)]
    health_type: Option<String>,
    /// What is asked for
    #[arg(long, value_name = "PATH", env = "LBCTL_HEALTH_PATH", hide_env = true)]
    health_path: Option<String>,
    /// Status codes that mean ready
    #[arg(long, value_name = "CODE", value_delimiter = ',', env = "LBCTL_HEALTH_EXPECT", hide_env = true)]
    health_expect: Vec<u16>,
    /// The CA of the backends' certificates
    #[arg(long, value_name = "auto|insecure|PATH", env = "LBCTL_CA", hide_env = true)]
    ca: Option<String>,
    /// The name in the backends' certificates, or auto
    #[arg(long, value_name = "NAME", env = "LBCTL_SERVER_NAME", hide_env = true)]
    server_name: Option<String>,
    /// From one probe to the next
    #[arg(long, value_name = "DURATION", env = "LBCTL_INTERVAL", hide_env = true)]
    interval: Option<String>,
    /// The longest wait for an answer
    #[arg(long, value_name = "DURATION", env = "LBCTL_TIMEOUT", hide_env = true)]
    timeout: Option<String>,
    /// Failures in a row until a backend is down
    #[arg(long, value_name = "N", env = "LBCTL_FALL", hide_env = true)]
    fall: Option<u32>,
    /// Successes in a row until a backend is up
    #[arg(long, value_name = "N", env = "LBCTL_RISE", hide_env = true)]
    rise: Option<u32>,
    /// From one sign of life to the next on the kept connection, or off
    #[arg(long, value_name = "DURATION", env = "LBCTL_HEARTBEAT", hide_env = true)]
    heartbeat: Option<String>,
}

/// Those of them that are about the node, and no service.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Node")]
pub(super) struct NodeArgs {
    /// The mechanism that maps the VIP; socket,packet: both at once
    #[arg(long, value_name = "auto|socket|ipvs|packet", env = "LBCTL_DATAPLANE", hide_env = true)]
    dataplane: Option<String>,
    /// Whether a connection whose backend does not answer is sent to another one
    #[arg(long, value_name = "on|off", env = "LBCTL_RESCUE", hide_env = true)]
    rescue: Option<String>,
    /// Whose connections are balanced; node: pods' too
    #[arg(long, value_name = "host|node", env = "LBCTL_SCOPE", hide_env = true)]
    scope: Option<String>,
    /// The cgroup whose processes are served, or auto
    #[arg(long, value_name = "PATH", env = "LBCTL_CGROUP", hide_env = true)]
    cgroup: Option<String>,
    /// Where programs, links and maps are pinned
    #[arg(long, value_name = "PATH", env = "LBCTL_BPFFS", hide_env = true)]
    bpffs: Option<String>,
    /// Where operator intent and last known backends are kept
    #[arg(long, value_name = "PATH", env = "LBCTL_STATE_DIR", hide_env = true)]
    state_dir: Option<String>,
    /// The hosts file
    #[arg(long, value_name = "PATH", env = "LBCTL_HOSTS_PATH", hide_env = true)]
    hosts_path: Option<String>,
    /// Whether the agent keeps the hosts file's entry
    #[arg(long, value_name = "true|false", action = ArgAction::Set, hide_possible_values = true,
        env = "LBCTL_HOSTS_MANAGE", hide_env = true)]
    hosts_manage: Option<bool>,
    /// Where metrics are served, or off
    #[arg(long, value_name = "ADDR:PORT", env = "LBCTL_METRICS_LISTEN", hide_env = true)]
    metrics_listen: Option<String>,
}

impl ConfigArgs {
    /// The configuration that the flags, the environment and the file make together.
    pub(super) fn source(self, globals: &Globals) -> ConfigSource {
        let Self { service, health, node } = self;
        let overrides = Overrides {
            vip: service.vip,
            backends: service.backends,
            hostname: service.hostname,
            policy: service.policy,
            prefer: service.prefer,
            health_type: health.health_type,
            health_path: health.health_path,
            health_expect: health.health_expect,
            ca: health.ca,
            server_name: health.server_name,
            interval: health.interval,
            timeout: health.timeout,
            fall: health.fall,
            rise: health.rise,
            heartbeat: health.heartbeat,
            dead_after: service.dead_after,
            on_down: service.on_down,
            on_all_down: service.on_all_down,
            ..node.overrides(globals)
        };
        ConfigSource::find(globals.config.as_deref(), overrides)
    }
}

impl NodeArgs {
    /// What they say of the node; of the service, nothing.
    pub(super) fn overrides(self, globals: &Globals) -> Overrides {
        Overrides {
            dataplane: self.dataplane,
            rescue: self.rescue,
            scope: self.scope,
            cgroup: self.cgroup,
            bpffs: self.bpffs,
            state_dir: self.state_dir,
            hosts_path: self.hosts_path,
            hosts_manage: self.hosts_manage,
            admin_socket: globals.admin_socket.clone(),
            metrics_listen: self.metrics_listen,
            ..Overrides::default()
        }
    }
}
