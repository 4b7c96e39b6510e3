//! What the IPVS dataplane needs beside IPVS, on this machine's kernel, in network namespaces of the test's own. Needs
//! root, ip(8), nft(8) and iptables(8). nft(8) is the independent witness of what was written.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fixture;
mod leftovers;
mod nft;
mod route;
