//! Whoever started the agent and waits for it, sd_notify(3).

use sd_notify::NotifyState;

/// Says that the agent is ready, where somebody asked to be told (`NOTIFY_SOCKET`).
pub fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!("failed to tell the supervisor that the agent is ready: {error}");
    }
}
