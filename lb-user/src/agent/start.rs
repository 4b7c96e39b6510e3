//! Putting an agent together.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_core::{
    config::Config,
    control::{Controller, Now},
    view::StatusView,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{broadcast, mpsc, watch},
};

use super::{
    AgentError, RunOptions,
    answers::Answers,
    chain,
    event_loop::{Agent, Inputs, Outputs},
    followers::Followers,
    keepers,
    once::Progress,
    planes::Planes,
    probers::Probers,
    publish::{self, Published},
    reconcile::Reconciler,
    reload::Moving,
    told,
};
use crate::{
    admin::{self, AdminServer, Limits, MetricsServer, Snapshot},
    dataplane::{self, Opened, Opener},
    os::{
        addresses::{self, AddressError},
        alarm::Alarm,
        hosts::watch::{self as file_watch, WatchError},
        lock::{self, AgentLock, LockError},
        netlink::changes::{self, ChangesError},
        node,
        state_file::StateFile,
    },
};

/// Events in flight between the tasks and the loop. More than 64 backends' worth of probes means that the loop is
/// stuck, and then the senders wait.
const QUEUE: usize = 128;

/// Loads everything and makes the first decisions; [`Agent::run`] goes on.
pub(super) async fn start(options: RunOptions) -> Result<Agent, AgentError> {
    let signals = Signals::install()?;
    let config = Arc::new(options.source.load()?);
    let lock = lock_state(&config)?;
    let opener = Opener::new(options.bpf_log);
    let Opened { dataplanes, planes, why, told } = opener.open(&config, &[])?;
    let (signal_tx, kernel_signals) = mpsc::channel(QUEUE);
    told.into_iter().for_each(|told| told::forward(told, &signal_tx));
    let leftovers = opener.leftovers(&config, dataplanes);
    let adopted = dataplane::peek(&config.bpffs, &config.state_dir)?.unwrap_or_default().adopted();
    let (state, set_aside) = StateFile::new(&config.state_dir).load();
    if let Some(set_aside) = &set_aside {
        tracing::warn!("{}", chain(set_aside));
    }
    let addresses = addresses::own().await.unwrap_or_else(|error| {
        tracing::warn!("{}", chain(&error));
        Default::default()
    });
    let now = Now { instant: Instant::now(), wall: Timestamp::now() };
    let (mut controller, effects) =
        Controller::new(config.clone(), &state, &adopted, addresses, now, fastrand::u64(..));
    controller.set_node(node::name());

    let (probe_tx, probes) = mpsc::channel(QUEUE);
    let (report_tx, reports) = mpsc::channel(QUEUE);
    let path = options.source.path.clone();
    let mut published = Published::new((dataplanes, why), &adopted, path, now);
    set_aside.iter().for_each(|set_aside| published.complain(chain(set_aside)));
    let first = published.snapshot(&controller, &config, now, Vec::new());
    let (snapshots, snapshot) = watch::channel(first);
    let (transitions, _) = broadcast::channel(QUEUE);
    let (operator_tx, operators) = mpsc::channel(QUEUE);
    let (list_tx, listed) = mpsc::channel(QUEUE);
    let mut followers = Followers::new(list_tx);
    let once = options.once;
    if once.is_none() {
        let refresh = refresh_counters(config.clone());
        let agent = admin::Agent::new(snapshot, operator_tx.clone(), transitions.clone(), refresh)
            .listing(list_connections(config.bpffs.clone()));
        serve(&config, agent).await?.into_iter().for_each(|complaint| published.complain(complaint));
        followers.keep(&config);
    }
    let reconciler = Reconciler::start(Planes::new(planes, leftovers), report_tx)
        .map_err(AgentError::system("start a thread"))?;
    let (outputs, hosts_kept, state_kept) =
        keep(&config, reconciler, snapshots, transitions, probe_tx, followers);
    let inputs = Inputs {
        probes,
        kernel_signals,
        signal_tx,
        reports,
        operators,
        listed,
        _operator_tx: operator_tx,
        addresses: watch_addresses(),
        config_changed: watch_config(&options),
        network_changed: watch_network(),
        hosts_kept,
        state_kept,
        signals,
        alarm: Alarm::at(now.instant).map_err(AgentError::system("make a timer"))?,
    };
    let mut agent = Agent {
        controller,
        source: options.source,
        config,
        once: once.map(|once| Progress::new(once, now.instant)),
        inputs,
        outputs,
        answers: Answers::default(),
        moving: Moving::default(),
        published,
        told_ready: false,
        opener,
        lock,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        dataplane = %dataplanes,
        why = agent.published.why(),
        services = agent.config.services.len(),
        taken_over = adopted.serving.len(),
        "the agent has started"
    );
    agent.perform(effects);
    Ok(agent)
}

/// Signals, installed before anything that takes time: a SIGTERM during the start is seen after it.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    fn install() -> Result<Self, AgentError> {
        let install = |kind| signal(kind).map_err(AgentError::system("install a signal handler"));
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }
}

/// Locks the state directory by a file in it: two agents with one memory would undo each other's work. Where that cannot be
/// made the node goes on without: the agent must run.
fn lock_state(config: &Config) -> Result<Option<AgentLock>, AgentError> {
    let dir = &config.state_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    match made
        .map_err(|source| LockError::Open { path: dir.clone(), source })
        .and_then(|()| lock::acquire_file(&dir.join(lock::FILE)))
    {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ LockError::Held { .. }) => Err(error.into()),
        Err(error) => {
            tracing::warn!("{}; a second agent would not be noticed by it", chain(&error));
            Ok(None)
        }
    }
}

/// Says what is not served.
async fn serve(config: &Config, agent: admin::Agent) -> Result<Option<String>, AgentError> {
    let server = AdminServer::bind(&config.admin_socket, agent.clone(), Limits::default())?;
    tokio::spawn(server.run(std::future::pending()));
    let Some(address) = config.metrics else { return Ok(None) };
    // Metrics are a convenience: a port that is taken must not keep a node from its apiservers.
    match MetricsServer::bind(address, agent, Limits::default()).await {
        Ok(server) => _ = tokio::spawn(server.run(std::future::pending())),
        Err(error) => {
            tracing::warn!("{}", chain(&error));
            return Ok(Some(chain(&error)));
        }
    }
    Ok(None)
}

type KeptReceiver = watch::Receiver<Option<keepers::Kept>>;

fn keep(
    config: &Config,
    reconciler: Reconciler,
    snapshots: watch::Sender<Snapshot>,
    transitions: broadcast::Sender<lb_core::view::TransitionView>,
    probes: mpsc::Sender<crate::probe::ProbeEvent>,
    followers: Followers,
) -> (Outputs, KeptReceiver, KeptReceiver) {
    let (hosts, hosts_wanted) = watch::channel(None);
    let (state, state_wanted) = watch::channel(None);
    let (hosts_tx, hosts_kept) = watch::channel(None);
    let (state_tx, state_kept) = watch::channel(None);
    let (look_again, look_again_rx) = mpsc::channel(1);
    if config.hosts.manage {
        tokio::spawn(keepers::keep_hosts(config.hosts.path.clone(), hosts_wanted, look_again_rx, hosts_tx));
    }
    tokio::spawn(keepers::keep_state(StateFile::new(&config.state_dir), state_wanted, state_tx));
    let outputs = Outputs {
        probers: Probers::new(probes, dataplane::sent_on(&config.bpffs)),
        followers,
        reconciler,
        hosts,
        look_at_hosts: look_again,
        state,
        snapshots,
        transitions,
    };
    (outputs, hosts_kept, state_kept)
}

fn watch_addresses() -> mpsc::Receiver<std::collections::BTreeSet<std::net::IpAddr>> {
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        let Err(error) = addresses::watch(tx).await;
        if !matches!(error, AddressError::Closed) {
            tracing::warn!("{}", chain(&error));
        }
    });
    rx
}

/// From one look at a changed network to the next: where routes come and go all the time, that must not keep a core busy.
const NETWORK_PACE: Duration = Duration::from_millis(500);

/// Programs hang on interfaces, and know the routes to the backends.
fn watch_network() -> mpsc::Receiver<()> {
    let (changed, mut changes) = mpsc::channel(1);
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        let Err(error) = changes::follow(changed).await;
        if !matches!(error, ChangesError::Closed) {
            tracing::warn!("{}; they are looked at every few seconds", chain(&error));
        }
    });
    tokio::spawn(async move {
        while changes.recv().await.is_some() && tx.send(()).await.is_ok() {
            tokio::time::sleep(NETWORK_PACE).await;
        }
    });
    rx
}

fn watch_config(options: &RunOptions) -> mpsc::Receiver<()> {
    let (tx, rx) = mpsc::channel(1);
    if let Some(path) = options.source.path.clone()
        && options.once.is_none()
    {
        tokio::spawn(async move {
            let Err(error) = file_watch::watch(path, tx).await;
            // The agent stops, and need not say so twice.
            if !matches!(error, WatchError::Closed) {
                tracing::warn!("{}; hint: SIGHUP reloads all the same", chain(&error));
            }
        });
    }
    rx
}

/// Connections are read from the kernel when somebody asks for them.
fn list_connections(bpffs: PathBuf) -> admin::Connections {
    let connections = dataplane::Connections::new(bpffs);
    Arc::new(move |filter, services| connections.list(filter, services).map_err(|error| chain(&error)))
}

/// Counters are read from the kernel when somebody asks for them.
fn refresh_counters(config: Arc<Config>) -> admin::Refresh {
    Arc::new(move |status: &mut StatusView| match dataplane::counters(&config.bpffs, &config.state_dir) {
        Ok(counters) => publish::fill_counters(status, &counters),
        Err(error) => status.warnings.push(chain(&error)),
    })
}
