//! What programs on TC are told, and what they count: the same for the packet dataplane and for connections that the socket
//! dataplane sends to another backend.

use std::net::IpAddr;

use lb_common::{
    Address, Endpoint,
    packet::{MAX_WAYS, Rules as RulesBytes, TALLIES, Way as WayBytes},
};

use crate::dataplane::{
    DataplaneError,
    packet::world::{Rules, Way},
    services::{Pins, Shape, encode, kernel::Shared, open_map},
};

/// Ways to the backends, rules, and counters.
pub struct ToldMaps {
    ways: Shared<WayBytes>,
    rules: Shared<RulesBytes>,
    tally: Shared<u64>,
}

impl ToldMaps {
    /// Opens the pinned maps of these shapes: ways, rules, tally.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins, shapes: [&Shape; 3]) -> Result<Self, DataplaneError> {
        let [ways, rules, tally] = shapes.map(|shape| open_map(pins, shape));
        let memory = |shape: &Shape| DataplaneError::failed("map into memory", shape.name);
        Ok(Self {
            ways: Shared::map(ways?.fd(), MAX_WAYS).map_err(memory(shapes[0]))?,
            rules: Shared::map(rules?.fd(), 1).map_err(memory(shapes[1]))?,
            tally: Shared::map(tally?.fd(), TALLIES).map_err(memory(shapes[2]))?,
        })
    }

    /// The way in a record.
    pub fn way(&self, index: u32) -> Option<Way> {
        let way = self.ways.read(index);
        let source = encode::socket_addr(&Endpoint::new(way.source, 0)).ip();
        (way.ifindex != 0).then_some(Way {
            source,
            interface: way.ifindex,
            local: way.local != 0,
            on_link: way.on_link != 0,
            in_place: way.in_place != 0,
        })
    }

    /// Writes the way into a record. Where it becomes another one the interface goes first and comes last: without one the
    /// record is not used.
    pub fn set_way(&mut self, index: u32, way: Option<Way>) {
        let Some(wanted) = way else {
            self.ways.write(index, &WayBytes::default());
            return;
        };
        let Way { source, interface, local, on_link, in_place } = wanted;
        let bytes = WayBytes {
            source: address(source),
            ifindex: interface,
            local: u16::from(local),
            in_place: u8::from(in_place),
            on_link: u8::from(on_link),
        };
        let is_the_same = |old: Way| Way { on_link, in_place, ..old } == wanted;
        if !self.way(index).is_some_and(is_the_same) {
            self.ways.write(index, &WayBytes { ifindex: 0, ..bytes });
        }
        self.ways.write(index, &bytes);
    }

    /// What the programs are told.
    pub fn rules(&self) -> Rules {
        let rules = self.rules.read(0);
        Rules {
            first_port: rules.first_port,
            ports: rules.ports,
            takes: rules.takes != 0,
            forwards: rules.forwards != 0,
            masquerades: rules.masquerades != 0,
            rescues: rules.rescues != 0,
            shortens: rules.shortens != 0,
        }
    }

    /// Tells the programs something else.
    pub fn set_rules(&mut self, rules: &Rules) {
        let bytes = RulesBytes {
            first_port: rules.first_port,
            ports: rules.ports,
            takes: u32::from(rules.takes),
            forwards: u32::from(rules.forwards),
            masquerades: u32::from(rules.masquerades),
            rescues: u32::from(rules.rescues),
            shortens: u32::from(rules.shortens),
            reserved: 0,
        };
        self.rules.write(0, &bytes);
    }

    /// What was counted under a `DROP_` or `TALLY_` constant.
    pub fn tally(&self, what: u32) -> u64 {
        self.tally.read(what)
    }

    /// Adds to what was counted.
    pub fn add_to_tally(&mut self, what: u32, n: u64) {
        self.tally.add(what, n);
    }
}

/// An address as the programs have it: IPv4 in its v4-mapped form.
pub fn address(ip: IpAddr) -> Address {
    encode::endpoint((ip, 0).into()).address()
}
