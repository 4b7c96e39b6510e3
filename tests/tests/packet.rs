//! The packet dataplane: clients that the node only forwards, and what else happens to packets.
//!
//! What it has in common with the other dataplanes is in `parity`. Clients are a virtual machine on the node, a machine
//! from elsewhere and the node itself; masters are on the node's wire, behind a router, and on the node.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod packet {
    mod agent;
    mod answers;
    mod beside;
    mod counting;
    mod eviction;
    mod flood;
    mod foreign;
    mod interfaces;
    mod mtu;
    mod next_hop;
    mod paths;
    mod ports;
    mod services;
    mod setup;
    mod shortcut;
    mod table;
    mod tcx;
    mod wires;
}
