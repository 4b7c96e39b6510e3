//! The prober against real sockets on the loopback: what it tells of a backend, and how it treats its connection.
#![allow(clippy::unwrap_used, clippy::panic)]

mod connection;
mod fixture;
mod outcome;
mod pki;
mod request;
