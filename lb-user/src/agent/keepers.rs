//! Files that are kept as they should be, off the agent's loop: a disk may take its time.

use std::{path::PathBuf, sync::Arc};

use lb_core::{hosts::Entry, state::State};
use tokio::sync::{mpsc, watch};

use super::chain;
use crate::os::{
    hosts::{HostsFile, Outcome, watch as hosts_watch},
    state_file::StateFile,
};

/// Whether a file is as it should be; the error says why not.
pub(super) type Kept = Result<(), String>;

/// Keeps the block in the hosts file: writes it when the entries change, and again when somebody else has been there.
/// `None`: not told yet.
pub(super) async fn keep_hosts(
    path: PathBuf,
    mut wanted: watch::Receiver<Option<Vec<Entry>>>,
    mut look_again: mpsc::Receiver<()>,
    kept: watch::Sender<Option<Kept>>,
) {
    // One waiting notice is enough: it says that the file may have changed, not how.
    let (tx, mut changed) = mpsc::channel(1);
    let watcher = tokio::spawn(hosts_watch::watch(path.clone(), tx));
    loop {
        let entries = wanted.borrow_and_update().clone();
        if let Some(entries) = entries {
            let result = apply(path.clone(), entries).await;
            kept.send_if_modified(|last| {
                let news = last.as_ref() != Some(&result);
                *last = Some(result);
                news
            });
        }
        tokio::select! {
            news = wanted.changed() => if news.is_err() { break },
            Some(()) = changed.recv() => {}
            Some(()) = look_again.recv() => {}
        }
    }
    watcher.abort();
}

async fn apply(path: PathBuf, entries: Vec<Entry>) -> Kept {
    let write = move || {
        let file = HostsFile::new(path);
        let outcome = file.apply(&entries);
        if let Ok(Outcome::Written(how)) = &outcome {
            tracing::info!(path = %file.path().display(), ?how, "wrote the hosts entry");
        }
        outcome.map(drop).map_err(|error| chain(&error))
    };
    let result = tokio::task::spawn_blocking(write).await.unwrap_or_else(|e| Err(e.to_string()));
    if let Err(error) = &result {
        tracing::warn!("{error}");
    }
    result
}

/// Keeps the newest state on disk.
pub(super) async fn keep_state(
    file: StateFile,
    mut wanted: watch::Receiver<Option<State>>,
    kept: watch::Sender<Option<Kept>>,
) {
    let file = Arc::new(std::sync::Mutex::new(file));
    loop {
        let state = wanted.borrow_and_update().clone();
        if let Some(state) = state {
            let file = file.clone();
            let save = move || {
                let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                file.save(&state).map(drop).map_err(|error| chain(&error))
            };
            let result = tokio::task::spawn_blocking(save).await.unwrap_or_else(|e| Err(e.to_string()));
            if let Err(error) = &result {
                tracing::warn!("{error}");
            }
            kept.send_replace(Some(result));
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}
