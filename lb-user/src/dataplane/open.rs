//! Which dataplanes it is to be, and putting them to work.

use aya_log::EbpfLogger;
use lb_core::{
    config::Config,
    model::{DataplaneKind, Dataplanes},
};

use super::{
    DataplaneError, Plane,
    ipvs::{self, IpvsDataplane},
    packet::{self, PacketDataplane},
    socket::{BpfLog, Loaded, Options, Signals, SocketDataplane},
};
use crate::{
    agent::chain,
    os::{bpffs, capability, cgroup, lock::SharedLocks, node},
};

/// What `auto` tries, in this order, SPEC section 1.
const ORDER: [DataplaneKind; 3] = [DataplaneKind::Socket, DataplaneKind::Ipvs, DataplaneKind::Packet];

/// Dataplanes that can be used.
pub struct Opened {
    /// All that the configuration asks for.
    pub dataplanes: Dataplanes,
    /// Those of them that were opened: without those that were there.
    pub planes: Vec<Box<dyn Plane>>,
    /// Why they were taken.
    pub why: String,
    /// What the programs of those that were opened tell.
    pub told: Vec<Told>,
}

/// What the kernel programs of a dataplane tell.
#[derive(Default)]
pub struct Told {
    /// What they log, where that was asked for.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// What befalls connections.
    pub signals: Option<Signals>,
}

/// The dataplanes that a config asks for first, and why they are taken where they work.
pub fn preferred(config: &Config) -> (Dataplanes, String) {
    match config.dataplane {
        Some(named) => (named, "named in the config".to_owned()),
        None => (ORDER[0].into(), auto_why(&[])),
    }
}

/// Opens dataplanes. Clones of it share the lock on what is pinned, which two dataplanes of one agent need.
#[derive(Clone)]
pub struct Opener {
    log: BpfLog,
    locks: SharedLocks,
}

impl Opener {
    /// For an agent whose programs log this.
    pub fn new(log: BpfLog) -> Self {
        Self { log, locks: SharedLocks::default() }
    }

    /// Opens the dataplanes that the config names, or the first that works here. Of those that are `held` none is opened a
    /// second time.
    pub fn open(&self, config: &Config, held: &[DataplaneKind]) -> Result<Opened, DataplaneError> {
        if config.dataplane.is_some() {
            let (named, why) = preferred(config);
            return self.open_all(named, config, held, why);
        }
        let mut refused: Vec<(DataplaneKind, DataplaneError)> = Vec::new();
        for kind in ORDER {
            match self.open_all(kind.into(), config, held, auto_why(&refused)) {
                // A second agent is no reason to take another one.
                Err(error @ DataplaneError::Locked(_)) => return Err(error),
                Err(error) => {
                    tracing::info!(%kind, error = chain(&error), "this dataplane cannot be used here");
                    refused.push((kind, error));
                }
                opened => return opened,
            }
        }
        Err(none_works(refused))
    }

    fn open_all(
        &self,
        dataplanes: Dataplanes,
        config: &Config,
        held: &[DataplaneKind],
        why: String,
    ) -> Result<Opened, DataplaneError> {
        let mut opened = Opened { dataplanes, planes: Vec::new(), why, told: Vec::new() };
        for kind in dataplanes.kinds().iter().filter(|kind| !held.contains(kind)) {
            let (plane, told) = self.open_kind(*kind, config)?;
            opened.planes.push(plane);
            opened.told.push(told);
        }
        Ok(opened)
    }

    fn open_kind(
        &self,
        kind: DataplaneKind,
        config: &Config,
    ) -> Result<(Box<dyn Plane>, Told), DataplaneError> {
        match kind {
            DataplaneKind::Socket => self.open_socket(config, self.log),
            DataplaneKind::Ipvs => Ok((open_ipvs(config)?, Told::default())),
            DataplaneKind::Packet => self.open_packet(config),
        }
    }

    fn open_socket(&self, config: &Config, log: BpfLog) -> Result<(Box<dyn Plane>, Told), DataplaneError> {
        capability::require("program the socket dataplane")?;
        let cgroup = cgroup::find(config.cgroup.as_deref())?;
        bpffs::ensure(&config.bpffs)?;
        let lock = self.locks.acquire(&config.bpffs)?;
        let options = Options {
            bpffs: config.bpffs.clone(),
            cgroup,
            scope: config.scope,
            node: node::name(),
            rescue: config.rescue,
            log,
        };
        let (dataplane, Loaded { logger, signals, .. }) = SocketDataplane::open(options)?;
        Ok((Box::new(dataplane.holding(lock)), Told { logger, signals: Some(signals) }))
    }

    /// Its pins lie beside the socket dataplane's, below the same lock.
    fn open_packet(&self, config: &Config) -> Result<(Box<dyn Plane>, Told), DataplaneError> {
        capability::require("program the packet dataplane")?;
        bpffs::ensure(&config.bpffs)?;
        let lock = self.locks.acquire(&config.bpffs)?;
        let dataplane = PacketDataplane::open(packet_options(config))?;
        Ok((Box::new(dataplane.holding(lock)), Told::default()))
    }

    /// Opens what an earlier agent left of other dataplanes than those in use: connections may still hang on it.
    pub fn leftovers(&self, config: &Config, in_use: Dataplanes) -> Vec<Box<dyn Plane>> {
        let mut found = Vec::new();
        for kind in ORDER.into_iter().filter(|kind| !in_use.has(*kind)) {
            match self.leftover(kind, config) {
                Ok(leftover) => found.extend(leftover),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%kind, error, "failed to take over what is left of another dataplane");
                }
            }
        }
        found
    }

    fn leftover(
        &self,
        kind: DataplaneKind,
        config: &Config,
    ) -> Result<Option<Box<dyn Plane>>, DataplaneError> {
        match kind {
            DataplaneKind::Socket if SocketDataplane::peek(&config.bpffs, None)?.is_some() => {
                self.open_socket(config, BpfLog::Off).map(|(plane, _)| Some(plane))
            }
            DataplaneKind::Ipvs if IpvsDataplane::peek(&config.state_dir)?.is_some() => {
                open_ipvs(config).map(Some)
            }
            DataplaneKind::Packet if PacketDataplane::peek(&config.bpffs)?.is_some() => {
                self.open_packet(config).map(|(plane, _)| Some(plane))
            }
            DataplaneKind::Socket | DataplaneKind::Ipvs | DataplaneKind::Packet => Ok(None),
        }
    }
}

/// What a configuration means to the packet dataplane.
pub(super) fn packet_options(config: &Config) -> packet::Options {
    packet::Options {
        bpffs: config.bpffs.clone(),
        scope: config.scope,
        node: node::name(),
        interfaces: config.packet.interfaces.clone(),
        xdp: config.packet.xdp.clone(),
        connections: config.packet.connections,
        masquerade: config.packet.masquerade,
        shortcut: config.packet.shortcut,
        rescue: config.rescue,
    }
}

fn open_ipvs(config: &Config) -> Result<Box<dyn Plane>, DataplaneError> {
    let options = ipvs::Options { scope: config.scope, state_dir: config.state_dir.clone() };
    Ok(Box::new(IpvsDataplane::open(options)?))
}

fn auto_why(refused: &[(DataplaneKind, DataplaneError)]) -> String {
    let reasons: Vec<_> = refused.iter().map(|(kind, error)| format!("{kind}: {}", chain(error))).collect();
    match reasons.as_slice() {
        [] => "auto: the first that this host supports".to_owned(),
        reasons => format!("auto: the first that this host supports ({})", reasons.join("; ")),
    }
}

/// The first refusal decides what is wrong and the exit code: it is of the dataplane that should be used.
fn none_works(refused: Vec<(DataplaneKind, DataplaneError)>) -> DataplaneError {
    let mut refused = refused.into_iter();
    let Some((_, first)) = refused.next() else {
        return DataplaneError::Missing { what: "there is no dataplane".to_owned(), remedy: String::new() };
    };
    let others: Vec<_> = refused.map(|(kind, error)| format!("{kind}: {}", chain(&error))).collect();
    match first {
        DataplaneError::Missing { what, remedy } if !others.is_empty() => DataplaneError::Missing {
            what,
            remedy: format!("{remedy} (nor can auto take {})", others.join("; ")),
        },
        first => first,
    }
}
