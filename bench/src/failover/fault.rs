//! The ways in which a master fails, and how each is ended.

use std::time::Duration;

use anyhow::Context;
use lb_tests::lab::{Launch, Master, Refusal};
use serde::{Deserialize, Serialize};

/// kube-apiserver's `--shutdown-delay-duration` of the masters measured.
pub(super) const SHUTDOWN_DELAY: Duration = Duration::from_secs(3);

/// How long a fault is watched at most whose victim answers or refuses.
pub(super) const SHORT: Duration = Duration::from_secs(12);
/// How long a silent one is: 2 s longer than the timeouts in kubeadm's guide, after which HAProxy ends a silent connection.
pub(super) const LONG: Duration = Duration::from_secs(37);

/// What happens to a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL; its host answers with RST.
    Kill,
    /// Every packet from and to its host vanishes.
    PowerLoss,
    /// A firewall on its host answers every packet for it with an ICMP error.
    Reject,
    /// SIGSTOP; its host accepts and acknowledges.
    Hang,
    /// Its readyz says 503 while it goes on serving.
    NotReady,
    /// SIGTERM; its readyz fails, it serves on for 3 s, then it ends its connections.
    Shutdown,
}

impl Fault {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::PowerLoss, Self::Reject, Self::Hang, Self::NotReady, Self::Shutdown];

    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "process killed (SIGKILL)",
            Self::PowerLoss => "power loss (all packets dropped)",
            Self::Reject => "refused by a firewall (REJECT)",
            Self::Hang => "process hangs (SIGSTOP)",
            Self::NotReady => "readyz fails, serving goes on",
            Self::Shutdown => "graceful shutdown (SIGTERM, 3 s delay)",
        }
    }

    /// Whether connections to the master are lost, so that its watches have to end.
    #[must_use]
    pub fn ends_watches(self) -> bool {
        match self {
            Self::Kill | Self::PowerLoss | Self::Reject | Self::Hang | Self::Shutdown => true,
            Self::NotReady => false,
        }
    }

    /// How long it is watched at least: until all has happened that can.
    pub(super) fn least(self) -> Duration {
        match self {
            Self::Kill | Self::PowerLoss | Self::Reject | Self::Hang => Duration::from_secs(3),
            Self::NotReady => Duration::from_secs(6),
            Self::Shutdown => SHUTDOWN_DELAY * 2,
        }
    }

    /// How long it is watched at most.
    pub(super) fn most(self) -> Duration {
        match self {
            Self::Kill | Self::NotReady | Self::Shutdown => SHORT,
            Self::PowerLoss | Self::Reject | Self::Hang => LONG,
        }
    }

    pub(super) fn begin(self, victim: &Master) -> anyhow::Result<()> {
        match self {
            Self::Kill => victim.kill(),
            Self::PowerLoss => victim.cut(),
            Self::Reject => victim.refuse(Refusal::PortUnreachable),
            Self::Hang => victim.stop(),
            Self::NotReady => victim.control("/readyz/503").map(drop),
            Self::Shutdown => victim.ask_to_end(),
        }
        .with_context(|| format!("begin the fault of {}", victim.name()))
    }

    pub(super) fn end(self, victim: &Master) -> anyhow::Result<()> {
        match self {
            Self::Kill => victim.start_as(launch()),
            Self::PowerLoss => victim.mend(),
            Self::Reject => victim.admit(),
            Self::Hang => victim.cont(),
            Self::NotReady => victim.control("/readyz/200").map(drop),
            Self::Shutdown => victim.terminate().and_then(|()| victim.start_as(launch())),
        }
        .with_context(|| format!("end the fault of {}", victim.name()))
    }
}

/// How the masters are started.
pub(super) fn launch() -> Launch {
    Launch { shutdown_delay: SHUTDOWN_DELAY, ..Launch::default() }
}
