//! Which dataplane it is to be, and putting it to work.

use aya_log::EbpfLogger;
use lb_core::{config::Config, model::DataplaneKind};

use super::{
    DataplaneError, Plane,
    ipvs::{self, IpvsDataplane},
    socket::{BpfLog, Loaded, Options, Signals, SocketDataplane},
};
use crate::{
    agent::chain,
    os::{bpffs, capability, cgroup, lock, node},
};

/// What `auto` tries, in this order, SPEC section 1.
const ORDER: [DataplaneKind; 2] = [DataplaneKind::Socket, DataplaneKind::Ipvs];

/// A dataplane that can be used.
pub struct Opened {
    /// The dataplane.
    pub plane: Box<dyn Plane>,
    /// Why it was taken.
    pub why: String,
    /// What the kernel programs log, where there are any and they were asked to.
    pub logger: Logger,
    /// What befalls connections, where the dataplane tells.
    pub signals: Option<Signals>,
}

/// What a changed config asks for.
pub enum Reopened {
    /// The dataplane that is in use.
    Same {
        /// Why it was taken.
        why: String,
    },
    /// Another one.
    Other(Box<Opened>),
}

type Logger = Option<EbpfLogger<&'static dyn log::Log>>;

/// Opens the dataplane that the config names, or the first that works here.
pub fn open(config: &Config, log: BpfLog) -> Result<Opened, DataplaneError> {
    choose(config, |kind, why| open_kind(kind, config, log, why))
}

/// The dataplane that a config asks for first, and why it is taken where it works.
pub fn preferred(config: &Config) -> (DataplaneKind, String) {
    match config.dataplane {
        Some(kind) => (kind, "named in the config".to_owned()),
        None => (ORDER[0], auto_why(&[])),
    }
}

/// As [`open`], but the one in use is not opened a second time.
pub fn reopen(config: &Config, log: BpfLog, current: DataplaneKind) -> Result<Reopened, DataplaneError> {
    choose(config, |kind, why| {
        if kind == current {
            return Ok(Reopened::Same { why });
        }
        open_kind(kind, config, log, why).map(|opened| Reopened::Other(Box::new(opened)))
    })
}

fn choose<T>(
    config: &Config,
    open: impl Fn(DataplaneKind, String) -> Result<T, DataplaneError>,
) -> Result<T, DataplaneError> {
    if config.dataplane.is_some() {
        let (kind, why) = preferred(config);
        return open(kind, why);
    }
    let mut refused: Vec<(DataplaneKind, DataplaneError)> = Vec::new();
    for kind in ORDER {
        match open(kind, auto_why(&refused)) {
            // A second agent, or a setting that no dataplane honours, is no reason to take another one.
            Err(error @ (DataplaneError::Locked(_) | DataplaneError::Unsupported(_))) => return Err(error),
            Err(error) => {
                tracing::info!(%kind, error = chain(&error), "this dataplane cannot be used here");
                refused.push((kind, error));
            }
            opened => return opened,
        }
    }
    Err(none_works(refused))
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

fn open_kind(
    kind: DataplaneKind,
    config: &Config,
    log: BpfLog,
    why: String,
) -> Result<Opened, DataplaneError> {
    match kind {
        DataplaneKind::Socket => {
            let (plane, Loaded { logger, signals }) = open_socket(config, log)?;
            Ok(Opened { plane, why, logger, signals: Some(signals) })
        }
        DataplaneKind::Ipvs => Ok(Opened { plane: open_ipvs(config)?, why, logger: None, signals: None }),
        DataplaneKind::Packet => Err(super::not_yet(kind).into()),
    }
}

fn open_socket(config: &Config, log: BpfLog) -> Result<(Box<dyn Plane>, Loaded), DataplaneError> {
    capability::require("program the socket dataplane")?;
    let cgroup = cgroup::find(config.cgroup.as_deref())?;
    bpffs::ensure(&config.bpffs)?;
    let lock = lock::acquire(&config.bpffs)?;
    let options =
        Options { bpffs: config.bpffs.clone(), cgroup, scope: config.scope, node: node::name(), log };
    let (dataplane, loaded) = SocketDataplane::open(options)?;
    Ok((Box::new(dataplane.holding(lock)), loaded))
}

fn open_ipvs(config: &Config) -> Result<Box<dyn Plane>, DataplaneError> {
    let options = ipvs::Options { scope: config.scope, state_dir: config.state_dir.clone() };
    Ok(Box::new(IpvsDataplane::open(options)?))
}

/// Opens what an earlier agent left of other dataplanes than the one in use: connections may still hang on it.
pub fn open_leftovers(config: &Config, in_use: DataplaneKind) -> Vec<Box<dyn Plane>> {
    let mut found = Vec::new();
    for kind in ORDER.into_iter().filter(|kind| *kind != in_use) {
        match open_leftover(kind, config) {
            Ok(leftover) => found.extend(leftover),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%kind, error, "failed to take over what is left of another dataplane");
            }
        }
    }
    found
}

fn open_leftover(kind: DataplaneKind, config: &Config) -> Result<Option<Box<dyn Plane>>, DataplaneError> {
    match kind {
        DataplaneKind::Socket if SocketDataplane::peek(&config.bpffs, None)?.is_some() => {
            open_socket(config, BpfLog::Off).map(|(plane, _)| Some(plane))
        }
        DataplaneKind::Ipvs if IpvsDataplane::peek(&config.state_dir)?.is_some() => {
            open_ipvs(config).map(Some)
        }
        DataplaneKind::Socket | DataplaneKind::Ipvs | DataplaneKind::Packet => Ok(None),
    }
}
