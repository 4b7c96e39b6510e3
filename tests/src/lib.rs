//! Fixtures for the end-to-end tests and the demo: a node and its masters as network namespaces on one machine.
//!
//! [`Lab`] puts everything together. Whatever it makes is named `lbt-PID-N…` and vanishes when it is dropped, also when a
//! test panics; two labs never meet, since each has a bridge, addresses and a cgroup of its own.
//! `standin` and `client` are the programs that run inside.

pub mod binaries;
pub mod bpffs;
pub mod cgroup;
pub mod client;
pub mod clock;
pub mod command;
pub mod containerd;
pub mod demo;
pub mod interrupt;
pub mod lab;
pub mod name;
pub mod netns;
pub mod pace;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod slowness;
pub mod standin;
pub mod tls;
pub mod traffic;
pub mod unix_http;
pub mod wait;

pub use lab::Lab;
