//! As `main.rs`, on a kernel with IPVS and dummy interfaces. Needs ipvsadm(8) too.
//!
//! ```sh
//! cargo test -p lb-user --test ipvs_network_in_vm --no-run
//! cargo xtask vm --kernel 6.1 -- target/debug/deps/ipvs_network_in_vm-HASH
//! ```
#![allow(clippy::unwrap_used, clippy::panic)]

mod dummy;
mod fixture;
mod with_ipvs;
