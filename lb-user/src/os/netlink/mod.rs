//! What NETLINK_ROUTE tells: interfaces, routes and changes of them, rtnetlink(7); what NETLINK_NETFILTER and NETLINK_XFRM tell of
//! who else looks at packets. Everything belongs to the network namespace of the calling thread.

pub(crate) mod attribute;
pub mod changes;
mod events;
pub mod interfaces;
pub mod netdev;
pub(crate) mod nfnl;
pub mod onlookers;
pub mod routes;
pub(crate) mod rtnl;
pub mod vip_routes;
mod xfrm;

use std::{io, time::Duration};

use rustix::io::Errno;

pub(crate) use events::Events;

/// The kernel answers at once; silence means that something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// More than the 32 KiB that the kernel sends in one go (NLMSG_GOODSIZE).
pub(crate) const BUFFER: usize = 64 * 1024;

/// A receive time-out, SO_RCVTIMEO, shows as EAGAIN.
pub(crate) fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { no_answer() } else { error }
}

/// The kernel is silent.
pub(crate) fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the kernel did not answer within {} s", DEADLINE.as_secs()),
    )
}

/// Whether the error is this one.
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
