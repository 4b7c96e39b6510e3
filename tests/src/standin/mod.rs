//! A stand-in for kube-apiserver: real TLS, HTTP/2 and HTTP/1.1, the health paths of the real one, and faults on request.
//!
//! `server` accepts, `answers` says what each path returns, `cluster` what it lists of its kind, `control` changes the behaviour while it runs.

mod answers;
mod body;
mod cluster;
mod control;
mod server;
mod state;

pub use server::{Options, run};
pub use state::Misbehaviour;
