//! That something has changed, whatever it is.

use std::io;

use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::is;

/// Notifications that are taken off the socket in one go. Should more be waiting, they count as the next change.
const DRAIN: usize = 4096;
/// Of a notification only that it came is of interest; the kernel cuts off the rest.
const BUFFER: usize = 64;

/// A subscription to multicast groups, RTNLGRP_* of include/uapi/linux/rtnetlink.h.
pub(crate) struct Events(TokioSocket);

impl Events {
    /// Subscribes. From now on nothing is missed.
    pub(crate) fn subscribe(groups: &[u32]) -> io::Result<Self> {
        let mut events = TokioSocket::new(NETLINK_ROUTE)?;
        events.socket_mut().bind_auto()?;
        for group in groups {
            events.socket_ref().add_membership(*group)?;
        }
        Ok(Self(events))
    }

    /// Waits for a notification. What it says does not matter, only that there is one.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        match self.0.recv(&mut Vec::with_capacity(BUFFER)).await {
            Err(e) if !is_overrun(&e) => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes off what has come until now: whoever looks after that sees it all.
    pub(crate) fn drain(&self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        for _ in 0..DRAIN {
            buffer.clear();
            match self.0.socket_ref().recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if is_overrun(&e) || e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// More has changed than the socket's buffer holds.
fn is_overrun(error: &io::Error) -> bool {
    is(error, Errno::NOBUFS)
}
