//! What is pinned, without an agent: read, or removed.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use lb_core::control::Pair;

use super::{
    LAYOUT, PacketDataplane, fast,
    kernel::{PacketMaps, pins},
    made,
};
use crate::{
    dataplane::{
        Counters, DataplaneError, HeldService,
        services::{Tables, remove_pins},
        tc::{Hooks, Owner, ROUTES},
    },
    os::bpffs,
};

impl PacketDataplane {
    /// What the kernel holds, without loading or changing anything; `None` when nothing is pinned.
    ///
    /// # Errors
    /// When what is pinned cannot be read.
    pub fn peek(bpffs: &Path) -> Result<Option<Peeked>, DataplaneError> {
        let pins = pins(bpffs);
        if !pins.base().exists() {
            return Ok(None);
        }
        let tables = Tables::new(PacketMaps::open(&pins)?);
        let services = tables.observe()?.into_iter().map(|(vip, service)| (vip, service.into())).collect();
        let counters = tables.counters()?;
        Ok(Some(Peeked { services, takes: tables.look().told().rules().takes, counters }))
    }

    /// Removes everything that any version of the agent ever pinned below `bpffs` for packets, and its routes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cleanup(bpffs: &Path) -> Result<Vec<String>, DataplaneError> {
        let mut removed = Vec::new();
        let routes = ROUTES.observe().map_err(DataplaneError::failed("list", "routes"))?;
        for vip in routes.into_keys() {
            ROUTES.remove(vip).map_err(DataplaneError::failed("remove the route of", vip.to_string()))?;
            removed.push(format!("the route of {vip}"));
        }
        let wires = fast(bpffs).cleanup()?;
        removed.extend(wires.iter().map(|wire| format!("the XDP program on interface {wire}")));
        // Filters outlive what is pinned, which may have been lost.
        let places = Hooks::cleanup(&pins(bpffs).links(), &made(bpffs), Owner::Packet)?;
        removed.extend(places.iter().map(|place| format!("the program on {place}")));
        removed.extend(remove_pins(bpffs, LAYOUT, |_| true)?);
        bpffs::release(bpffs)?;
        Ok(removed)
    }
}

/// What is read without an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// Each service under its VIP.
    pub services: BTreeMap<SocketAddr, HeldService>,
    /// Whether new connections are taken.
    pub takes: bool,
    /// What was counted.
    pub counters: BTreeMap<Pair, Counters>,
}
