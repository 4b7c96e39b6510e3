//! The kernel side of programs on network interfaces. Only calls, no choices. Everything belongs to the network namespace
//! of the calling thread.

mod clsact;
mod filter;
mod foreign;
mod hooks;
mod qdisc;
mod tcx;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

pub use hooks::{Hooks, Mended};

use crate::{
    dataplane::DataplaneError,
    os::{
        bpf,
        netlink::vip_routes::{Delivery, VipRoutes},
    },
};

/// The routes to the VIPs that bring the node's own packets to the programs on the loopback interface. They differ from
/// those of the IPVS dataplane in protocol and priority. Both may be there while one takes over from the other; this one
/// is taken as long as it is there.
///
/// What that means in the while that both are there:
/// - Packets of other namespaces and machines: where a program takes them at their interface, it does so before the
///   routing tables are asked. An IPv4 packet that no program takes leaves by the loopback interface and comes to
///   nothing: IPVS, which listens where packets are delivered, does not see it. An IPv6 packet is delivered either way.
/// - The node's own packets pass IPVS first, whose hook for them lies before the interface, and with it the nftables
///   table of the IPVS dataplane. Whichever route is taken, IPVS serves the connections that it knows, and takes new ones
///   for as long as it has a service at the VIP, or refuses them where that takes none. A connection that the programs made
///   goes on too: IPVS lets packets pass that begin no connection and belong to none that it knows.
pub const ROUTES: VipRoutes = VipRoutes { protocol: 0x6d, priority: 0x6b, ipv4: Delivery::Link };

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    id: u32,
}

impl Program {
    /// The one that is pinned at a path.
    ///
    /// # Errors
    /// When there is none.
    pub fn pinned(path: &Path) -> Result<Self, DataplaneError> {
        let object = || format!("program {}", path.display());
        let fd = bpf::object_get(path).map_err(DataplaneError::failed("open", object()))?;
        Self::new(fd).map_err(DataplaneError::failed("inspect", object()))
    }

    /// The one behind a descriptor.
    ///
    /// # Errors
    /// When it is no program's.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        let id = bpf::program_info(fd.as_fd())?.id;
        Ok(Self { fd, id })
    }

    /// What the kernel knows it by.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
