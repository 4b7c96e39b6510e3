//! Who the masters are, and how nodes are told of them.

use std::{net::SocketAddr, sync::Arc};

use lb_core::{
    config::{self, Config, Overrides},
    model::BackendKey,
};

pub const MASTERS: [&str; 3] = ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"];

/// All defaults; `more` is added to the service.
pub fn default_config(more: &str) -> Arc<Config> {
    let backends = MASTERS.map(|master| format!("'{master}'")).join(", ");
    let text =
        format!("services: [{{name: apiserver, vip: '10.103.97.2:6443', backends: [{backends}]{more}}}]");
    Arc::new(config::load(Some(("scale", &text)), &Overrides::default()).unwrap())
}

pub fn key(master: usize) -> BackendKey {
    BackendKey { service: "apiserver".parse().unwrap(), address: MASTERS[master].parse().unwrap() }
}

pub fn master(address: SocketAddr) -> usize {
    MASTERS.iter().position(|master| master.parse() == Ok(address)).unwrap()
}
