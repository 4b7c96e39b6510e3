//! What the IPVS dataplane needs beside IPVS, on this machine's kernel, in network namespaces of the test's own. Needs
//! root, ip(8), nft(8) and iptables(8). nft(8) is the independent witness of what was written.
//!
//! The ignored tests need a kernel with IPVS and dummy interfaces, and ipvsadm(8).
#![allow(clippy::unwrap_used, clippy::panic)]

mod fixture;
mod leftovers;
mod nft;
mod route;
mod with_ipvs;
