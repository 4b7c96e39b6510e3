//! Who would miss packets that pass by the node's stack.

use std::collections::{BTreeMap, BTreeSet};

use super::{Options, inspect::whose, world::World};
use crate::{
    agent::chain,
    dataplane::{
        DataplaneError, socket,
        tc::{Direction, Foreign, Hung, Place},
    },
    os::netlink::onlookers,
};

/// Everybody. What cannot be known is taken for somebody. `hung` is where ours run; `foreign` gives the programs of others on
/// these interfaces, but for those of these numbers.
pub fn look(
    options: &Options,
    world: &World,
    hung: &BTreeMap<Place, Hung>,
    foreign: impl FnOnce(BTreeSet<u32>, &BTreeSet<u32>) -> Result<Vec<Foreign>, DataplaneError>,
) -> Vec<String> {
    if !options.shortcut {
        return Vec::new();
    }
    let mut found = onlookers::list().unwrap_or_else(|error| vec![unknown(&error)]);
    let places = world.places(|name| options.interfaces.has(name));
    let interfaces = places.into_iter().map(|(place, _)| place.interface).collect();
    // Those that run before ours have seen the packet, and those on the way out will. Ours is put before all others.
    let runs = |place: &Place| matches!(hung.get(place), Some(Hung::Program(_)));
    let is_passed_by = |foreign: &&Foreign| {
        let Foreign { place, before, .. } = foreign;
        place.direction == Direction::In && !(*before && runs(place))
    };
    match foreign(interfaces, &socket::rescue_programs(&options.bpffs)) {
        Ok(foreign) => {
            found.extend(foreign.iter().filter(is_passed_by).map(|foreign| {
                format!("{} on {}", whose(&foreign.title), world.name(foreign.place.interface))
            }))
        }
        Err(error) => found.push(unknown(&error)),
    }
    found
}

fn unknown(error: &dyn std::error::Error) -> String {
    format!("perhaps somebody: {}", chain(error))
}
