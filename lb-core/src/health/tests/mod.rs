#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod invariants;
mod silence;
mod table;
mod timing;
mod world;

use std::{num::NonZeroU32, time::Duration};

use crate::probe::{CheckKind, Failure, HealthCheck, HttpCheck, Phase, ProbeOutcome};

const REFUSED: Failure = Failure::Refused;
const TIMEOUT: Failure = Failure::Timeout(Phase::Request);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// The defaults of the config file.
fn check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Http(HttpCheck::get("/readyz", [200])),
        interval: ms(2000),
        timeout: ms(1000),
        fall: count(3),
        rise: count(2),
        heartbeat: Some(ms(500)),
        dead_after: ms(4000),
    }
}

fn ready() -> ProbeOutcome {
    ProbeOutcome::Ready { latency: ms(1) }
}

fn not_ready() -> ProbeOutcome {
    ProbeOutcome::NotReady { latency: ms(1), status: 500 }
}

fn refused() -> ProbeOutcome {
    ProbeOutcome::Failed(REFUSED)
}

fn timed_out() -> ProbeOutcome {
    ProbeOutcome::Failed(TIMEOUT)
}

fn inconclusive() -> ProbeOutcome {
    ProbeOutcome::Inconclusive { reason: "too many open files".into() }
}
