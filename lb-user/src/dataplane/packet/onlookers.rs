//! Who would miss packets that pass by the node's stack.

use super::{Options, Running, inspect::whose, world::World};
use crate::{
    agent::chain,
    dataplane::tc::{Direction, Foreign, Hung, Place},
    os::netlink::onlookers,
};

/// Everybody. What cannot be known is taken for somebody.
pub fn look(options: &Options, world: &World, running: &Running) -> Vec<String> {
    if !options.shortcut {
        return Vec::new();
    }
    let mut found = onlookers::list().unwrap_or_else(|error| vec![unknown(&error)]);
    let followed = world.followed(&options.interfaces);
    // Those that run before ours have seen the packet, and those on the way out will. Ours is put before all others.
    let runs = |place: &Place| matches!(running.hung.get(place), Some(Hung::Program(_)));
    let is_passed_by = |foreign: &&Foreign| {
        let Foreign { place, before, .. } = foreign;
        followed.contains(&place.interface) && place.direction == Direction::In && !(*before && runs(place))
    };
    match &running.foreign {
        Ok(foreign) => {
            found.extend(foreign.iter().filter(is_passed_by).map(|foreign| {
                format!("{} on {}", whose(&foreign.title), world.name(foreign.place.interface))
            }))
        }
        Err(error) => found.push(unknown(error)),
    }
    found
}

fn unknown(error: &dyn std::error::Error) -> String {
    format!("perhaps somebody: {}", chain(error))
}
