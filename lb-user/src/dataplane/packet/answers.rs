//! Where answers to the node's own processes may be received: by the interface that they come in by, if the kernel takes them
//! there though they come from a VIP, whose route leads to the loopback interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_core::desired::DesiredState;

use super::{
    Options,
    world::{self, World},
};
use crate::os::netlink::{routes::Routes, vip_routes::VipRoute};

/// Whether the kernel takes answers from a VIP at an interface, for those that it was asked about: none while somebody on the
/// node would miss them at the loopback interface, or before there is a route to the VIP. What cannot be known is a no.
pub fn look(
    options: &Options,
    desired: &DesiredState,
    world: &World,
    routes: &BTreeMap<IpAddr, VipRoute>,
) -> BTreeMap<(IpAddr, u32), bool> {
    if !options.shortcut || !world.onlookers.is_empty() {
        return BTreeMap::new();
    }
    let pairs = desired.services.iter().flat_map(|service| {
        let vip = service.vip.ip();
        let ways = world::members(service).filter_map(|backend| world.way(backend.ip()));
        ways.filter(|way| !way.local).map(move |way| (vip, way.interface, way.source))
    });
    let asked: BTreeSet<_> = pairs.filter(|(vip, ..)| routes.contains_key(vip)).collect();
    let (mut kernel, mut taken) = (Routes::open(), BTreeMap::new());
    for (vip, interface, source) in asked {
        let told = match &mut kernel {
            Ok(kernel) => kernel.takes(interface, vip, source).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let is_taken = told.unwrap_or_else(|error| {
            tracing::debug!(%vip, interface, error, "cannot tell whether answers are taken");
            false
        });
        // Of several addresses of the node one that is refused counts for all.
        *taken.entry((vip, interface)).or_insert(true) &= is_taken;
    }
    taken
}
