//! What a big cluster does to its masters: thousands of agents' minds on one virtual clock, their shells modelled after
//! `lb-user/src/probe`, and the long-lived connections of their nodes. Nothing here sleeps, and each run is like the last.
//!
//! `cargo test -p lb-core --test scale -- --nocapture --test-threads 1` prints the tables of `docs/scale.md`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod back;
mod clients;
mod cluster;
mod death;
mod line;
mod masters;
mod patience;
mod pause;
mod steady;
mod storm;
mod table;
mod tally;
mod vigil;
mod world;

/// A big cluster.
const NODES: usize = 5_000;
