//! The IPVS dataplane on a kernel that has IPVS, in network namespaces of the test's own. Needs root, ip(8), nft(8) and
//! ipvsadm(8), which is the independent witness of what was programmed. Some tests take modules away from the kernel for
//! a moment, so it belongs into a virtual machine:
//!
//! ```sh
//! cargo test -p lb-user --test ipvs_dataplane --no-run
//! cargo xtask vm --kernel 6.1 -- target/debug/deps/ipvs_dataplane-HASH
//! ```
#![allow(clippy::unwrap_used, clippy::panic)]

mod eviction;
mod faults;
mod foreign;
mod lab;
mod lifecycle;
mod reach;
mod services;
