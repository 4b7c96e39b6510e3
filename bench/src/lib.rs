//! Measures lbctl beside its peers: the same clients, the same masters, one way after the other to choose between them.
//!
//! [`contender`] starts each of them in a lab.

pub mod bar;
pub mod contender;
pub mod failover;
pub mod probes;
pub mod usage;
