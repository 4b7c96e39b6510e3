//! A stand-in for kube-apiserver: real TLS, HTTP/2 and HTTP/1.1, the health paths of the real one, and faults on request.
//!
//! `server` accepts, `clients` says who asks, `answers` what each path returns, `api` what Kubernetes' own clients read, out of
//! `cluster`; `control` changes the behaviour while it runs.

mod answers;
mod api;
mod body;
mod clients;
mod cluster;
mod control;
mod server;
mod state;

pub use server::{Options, run};
pub use state::Misbehaviour;
