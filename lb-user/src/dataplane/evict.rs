//! Ending the sockets that hang on a backend, so that their owners reconnect at once: what all dataplanes do alike.

use std::{
    io,
    time::{Duration, Instant},
};

use lb_core::{
    control::{Eviction, Pair, Which},
    model::Scope,
};

use super::{DataplaneError, Evicted, elders::Elders};
use crate::os::{
    netns,
    sockdiag::{Ended, Progress, SockDiag, TICK, TcpSocket},
};

/// A socket, and the pair that its connection belongs to.
pub(super) type Hanging = (Pair, TcpSocket);

/// Whether the kernel can end sockets. Asking loads the modules that it has for it, so that an eviction need not wait for them.
///
/// # Errors
/// When it does not answer.
pub(super) fn can_end_sockets() -> Result<bool, DataplaneError> {
    SockDiag::open()
        .and_then(|diag| diag.can_destroy())
        .map_err(DataplaneError::failed("ask", "NETLINK_SOCK_DIAG"))
}

/// What people are told where it cannot.
pub(super) const CANNOT_END_SOCKETS: &str = "this kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY)";

/// Ends in this network namespace, or in all of them, what `find` finds and one of the evictions is about.
pub(super) fn evict(
    elders: &mut Elders,
    scope: Scope,
    evictions: &[Eviction],
    find: impl Fn(&SockDiag) -> io::Result<Vec<Hanging>> + Sync,
) -> Result<Evicted, DataplaneError> {
    let step = elders.step(evictions);
    let sweep = || {
        let diag = SockDiag::open()?;
        let found = find(&diag)?;
        Ok(end(&diag, chosen(&found, evictions, Instant::now()).chain(step.among(&found))))
    };
    match scope {
        Scope::Host => sweep().map_err(DataplaneError::failed("end sockets in", "this network namespace")),
        Scope::Node => Ok(everywhere(sweep)),
    }
}

/// A namespace that cannot be entered, or that goes away meanwhile, keeps none of the others back.
fn everywhere(sweep: impl Fn() -> io::Result<Evicted> + Sync) -> Evicted {
    let mut sum = Evicted::default();
    for namespace in netns::all() {
        match netns::within(&namespace, &sweep).and_then(|swept| swept) {
            Ok(evicted) => sum += evicted,
            Err(error) => {
                tracing::warn!(%error, "failed to end sockets in a pod's network namespace");
                sum.failed += 1;
            }
        }
    }
    sum
}

fn end<'a>(diag: &SockDiag, sockets: impl Iterator<Item = &'a TcpSocket>) -> Evicted {
    let mut evicted = Evicted::default();
    for socket in sockets {
        match diag.destroy(socket) {
            Ok(Ended::Now) => evicted.ended += 1,
            Ok(Ended::Gone) => {}
            Err(error) => {
                tracing::debug!(own = %socket.own, peer = %socket.peer, %error, "failed to end a socket");
                evicted.failed += 1;
            }
        }
    }
    evicted
}

/// Those among the sockets that an eviction is about.
fn chosen<'a>(
    found: &'a [Hanging],
    evictions: &[Eviction],
    now: Instant,
) -> impl Iterator<Item = &'a TcpSocket> {
    let of_pair = |pair: Pair| found.iter().filter(move |(own, _)| *own == pair).map(|(_, socket)| socket);
    let kinds = evictions.iter().filter_map(move |Eviction { pair, which }| match which {
        Which::All => Some((*pair, None)),
        Which::BegunSince(since) => Some((*pair, Some(now.saturating_duration_since(*since)))),
        Which::Elders { .. } => None,
    });
    kinds.flat_map(move |(pair, silent)| {
        let heard = silent.is_some_and(|silent| {
            of_pair(pair).any(|socket| socket.progress.and_then(|it| it.heard_within(silent)).is_some())
        });
        of_pair(pair).filter(move |socket| match silent {
            None => true,
            Some(silent) => {
                !heard && socket.progress.is_some_and(|progress| waits_in_vain(&progress, silent))
            }
        })
    })
}

/// Whether it was begun during the silence: it never received a byte, and whatever it has sent it sent since then.
fn waits_in_vain(progress: &Progress, silent: Duration) -> bool {
    progress.connecting || (progress.received == 0 && progress.sent_ago <= silent + TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Duration = Duration::from_millis(500);

    fn progress(received: u64, sent_ago: u64, received_ago: u64) -> Progress {
        Progress {
            connecting: false,
            unacknowledged: 0,
            received,
            sent_ago: Duration::from_millis(sent_ago),
            received_ago: Duration::from_millis(received_ago),
        }
    }

    #[test]
    fn who_was_begun_in_the_silence_waits_in_vain() {
        let connecting = Progress { connecting: true, ..progress(0, 9000, 9000) };
        for (progress, in_vain, why) in [
            (connecting, true, "its SYN is not answered"),
            (progress(0, 300, 300), true, "connected and asked meanwhile"),
            (progress(0, 9000, 9000), false, "connected long ago, and idle"),
            (progress(1, 300, 9000), false, "was served before"),
        ] {
            assert_eq!(waits_in_vain(&progress, SILENT), in_vain, "{why}");
        }
    }
}
