//! Ctrl-C: what runs stops at its next step, and the lab is dropped as at any other end.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Whether SIGINT or SIGTERM has come.
#[must_use]
pub fn happened() -> bool {
    HAPPENED.load(Relaxed)
}

/// Keeps both signals from ending the process, from now on.
///
/// # Errors
/// When they cannot be watched for.
pub fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for signals")?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        HAPPENED.store(true, Relaxed);
    });
    Ok(())
}
