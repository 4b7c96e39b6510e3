//! What the kernel programs tell, brought to where it is read.

use std::time::Duration;

use aya_log::EbpfLogger;
use lb_core::control::{Pair, Signal};
use tokio::sync::mpsc;

use crate::dataplane::{Told, socket::Signals};

/// Between two looks at the kernel programs' log, which is for the eyes of somebody who debugs.
const KERNEL_LOG_LOOK: Duration = Duration::from_millis(100);

/// Brings what the programs of one dataplane tell, for as long as the agent runs.
pub(super) fn forward(told: Told, events: &mpsc::Sender<(Pair, Signal)>) {
    if let Some(logger) = told.logger {
        tokio::spawn(forward_kernel_log(logger));
    }
    if let Some(signals) = told.signals {
        tokio::spawn(forward_signals(signals, events.clone()));
    }
}

/// Prints what the kernel programs log.
async fn forward_kernel_log(mut logger: EbpfLogger<&'static dyn log::Log>) {
    let mut look = tokio::time::interval(KERNEL_LOG_LOOK);
    loop {
        look.tick().await;
        logger.flush();
    }
}

/// Brings what the kernel tells of the node's own traffic. Without it faults are found by probes all the same.
async fn forward_signals(signals: Signals, events: mpsc::Sender<(Pair, Signal)>) {
    if let Err(error) = signals.forward(events).await {
        tracing::warn!(%error, "failed to read what the kernel tells of connections");
    }
}
