//! The packet dataplane's programs by BPF_PROG_TEST_RUN: a packet in, and every byte of what comes out compared with a packet
//! that was made independently. Needs root. Nothing is attached to any interface, and no packet is sent.
#![allow(clippy::unwrap_used, clippy::panic)]

mod answers;
mod begun;
mod conversation;
mod cost;
mod errors;
mod family;
mod foreign;
mod fuzz;
mod headers;
mod kernel;
mod packet;
mod ports;
mod refused;
mod setup;
mod short;
mod shortcut;
mod straight;
mod wire;
mod xdp;
