//! What programs on network interfaces need of this machine's kernel, in network namespaces of the test's own. Needs
//! root, ip(8) and tc(8), the independent witnesses of what was made.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../ipvs_network/fixture.rs"]
#[allow(dead_code, reason = "shared")]
mod fixture;
mod network;
mod vip_routes;
