//! What programs on network interfaces need of this machine's kernel, in network namespaces of the test's own. Needs
//! root, ip(8) and tc(8), the independent witnesses of what was made. Where the kernel has no TCX (before Linux 6.6) only
//! clsact is tried.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../ipvs_network/fixture.rs"]
#[allow(dead_code, reason = "shared")]
mod fixture;
mod foreign;
mod hooks;
mod network;
mod trial;
mod vip_routes;
