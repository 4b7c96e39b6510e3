//! Tells that the node's network has changed: an interface came, went or became another, an address, a route or a
//! setting of one did, or somebody took a filter off an interface.

use std::{convert::Infallible, io, time::Duration};

use tokio::{
    sync::mpsc::{Sender, error::TrySendError},
    time::sleep,
};

use super::Events;

/// RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR, _ROUTE and _RULE, RTNLGRP_IPV6_IFADDR and _ROUTE, RTNLGRP_IPV6_RULE,
/// RTNLGRP_IPV4_NETCONF (settings such as rp_filter), include/uapi/linux/rtnetlink.h.
const GROUPS: [u32; 9] = [1, 4, 5, 7, 8, 9, 11, 19, 24];
/// What comes in this time after a change that was told is told together.
const GATHER: Duration = Duration::from_millis(50);

/// Why changes are not told any more.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Listening failed.
    #[error("watch the node's interfaces and routes")]
    Watch(#[source] io::Error),
    /// Nobody listens any more.
    #[error("tell of a change of the node's interfaces and routes: the receiver is gone")]
    Closed,
}

/// Tells at the start and then of each change: of the first at once, of what follows it within 50 ms together. While
/// `tx` is full there is one that nobody has taken yet, which is as good; a capacity of 1 is enough.
///
/// What the receiver makes of it may cause the next one: what it does must come to rest.
///
/// # Errors
/// When the kernel refuses, or the receiver is gone.
pub async fn follow(tx: Sender<()>) -> Result<Infallible, ChangesError> {
    let events = Events::subscribe(&GROUPS).map_err(ChangesError::Watch)?;
    loop {
        if let Err(TrySendError::Closed(())) = tx.try_send(()) {
            return Err(ChangesError::Closed);
        }
        sleep(GATHER).await;
        tokio::select! {
            changed = events.changed() => changed.map_err(ChangesError::Watch)?,
            () = tx.closed() => return Err(ChangesError::Closed),
        }
        events.drain().map_err(ChangesError::Watch)?;
    }
}
