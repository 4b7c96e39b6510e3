//! The kernel side of the IPVS dataplane: netlink and /proc/sys. Only calls, no choices. Everything belongs to the
//! network namespace of the calling thread.

pub mod genl;
mod legacy_iptables;
pub mod lvscare;
pub mod nft;
pub mod route;
pub mod sysctl;
