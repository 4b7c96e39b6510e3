//! The wires that XDP is told of, and how many packets it took.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use lb_common::packet::{WIRE_RETURNS, WIRE_SENDS, Wire as WireBytes};

use super::load::SHAPES;
use crate::dataplane::{
    DataplaneError,
    packet::wires::Wire,
    services::{Pins, open_hash, open_map},
};

/// Both maps.
pub struct WireMaps {
    wires: HashMap<MapData, u64, WireBytes>,
    fast: PerCpuArray<MapData, u64>,
}

impl WireMaps {
    /// Opens the pinned maps, after a check of their shapes.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [_, _, _, wires, fast, ..] = &SHAPES;
        let failed = || DataplaneError::failed("open", "map FAST");
        let fast = Map::from_map_data(open_map(pins, fast)?).map_err(failed())?;
        Ok(Self { wires: open_hash(pins, wires)?, fast: PerCpuArray::try_from(fast).map_err(failed())? })
    }

    /// The wires, by their numbers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wires(&self) -> Result<BTreeMap<u32, Wire>, DataplaneError> {
        let read =
            |found: Result<(u64, WireBytes), _>| found.map(|(number, wire)| (number as u32, given(wire)));
        let found: Result<_, _> = self.wires.iter().map(read).collect();
        found.map_err(DataplaneError::failed("read", "map WIRES"))
    }

    /// Tells of a wire, or that it is none any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, interface: u32, wire: Option<Wire>) -> Result<(), DataplaneError> {
        let key = u64::from(interface);
        let done = match wire {
            Some(wire) => self.wires.insert(key, told(wire), 0),
            None => self.wires.remove(&key),
        };
        done.map_err(DataplaneError::failed("change", "map WIRES"))
    }

    /// How many packets XDP took since the map was made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn taken(&self) -> Result<u64, DataplaneError> {
        let counts = self.fast.get(&0, 0).map_err(DataplaneError::failed("read", "map FAST"))?;
        Ok(counts.iter().sum())
    }
}

fn told(wire: Wire) -> WireBytes {
    let [a, b, c, d, e, f] = wire.mac;
    let bits = [(wire.sends, WIRE_SENDS), (wire.returns, WIRE_RETURNS)];
    let can = bits.into_iter().filter(|(can, _)| *can).map(|(_, bit)| bit).sum();
    WireBytes { mac: u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]), can }
}

fn given(wire: WireBytes) -> Wire {
    let [mac @ .., _, _] = wire.mac.to_ne_bytes();
    Wire { mac, sends: wire.can & WIRE_SENDS != 0, returns: wire.can & WIRE_RETURNS != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_is_told_as_its_address_lies_in_a_frame() {
        for (sends, returns, can) in [(false, false, 0), (true, false, 1), (false, true, 2), (true, true, 3)]
        {
            let wire = Wire { mac: [2, 0, 0, 0, 0, 7], sends, returns };
            let bytes = told(wire);
            assert_eq!((bytes.mac.to_ne_bytes(), bytes.can), ([2, 0, 0, 0, 0, 7, 0, 0], can));
            assert_eq!(given(bytes), wire);
        }
    }
}
