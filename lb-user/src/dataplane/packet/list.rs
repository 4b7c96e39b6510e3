//! The table of connections, as people are shown it.

use std::{path::Path, time::Duration};

use lb_common::packet::{
    DROP_FRAGMENT, DROP_FULL, DROP_GIVEN_UP, DROP_MALFORMED, DROP_NO_BACKEND, DROP_NO_WAY, DROP_SCOPE,
    DROP_UNKNOWN, FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_HOST, FLOW_RESET, MAX_OPENING, TALLY_BEGUN,
    TALLY_ENDED, TALLY_OPENED, TALLY_RESCUED,
};
use lb_core::{
    model::ConnectionState,
    view::connections::{CapacityView, Connection, CountedView, DroppedView, Table},
};

use super::{
    PacketDataplane,
    evict::since_boot,
    kernel::{Entry, FlowMaps, PacketMaps, Stage, WireMaps, pins},
    sweep::idle,
};
use crate::dataplane::{DataplaneError, services::Pins};

impl PacketDataplane {
    /// Tells every connection one by one, and what there is to say of the table; `None`: there is none. Loads nothing and
    /// changes nothing.
    ///
    /// # Errors
    /// When what is pinned cannot be read.
    pub fn peek_connections(
        bpffs: &Path,
        each: &mut dyn FnMut(Connection),
    ) -> Result<Option<Table>, DataplaneError> {
        let pins = pins(bpffs);
        if !pins.base().exists() {
            return Ok(None);
        }
        let (flows, room) = FlowMaps::open(&pins)?;
        let maps = PacketMaps::open(&pins)?;
        let now = since_boot();
        // Before the table is read: a connection that comes meanwhile is not taken for one that was displaced.
        let (begun, mut present) = (maps.told().tally(TALLY_BEGUN), 0_u64);
        flows.each(|entry| {
            present += 1;
            each(connection(&entry, now));
        })?;
        let displaced = begun.saturating_sub(maps.told().tally(TALLY_ENDED)).saturating_sub(present);
        let mut table = table(|what| maps.told().tally(what), displaced, room);
        table.counted.fast_packets = taken(&pins)?;
        Ok(Some(table))
    }
}

/// An agent that knew nothing of XDP has left no map for it.
fn taken(pins: &Pins) -> Result<u64, DataplaneError> {
    if pins.map("FAST").exists() { WireMaps::open(pins)?.taken() } else { Ok(0) }
}

fn table(tally: impl Fn(u32) -> u64, displaced: u64, room: u32) -> Table {
    Table {
        dropped: DroppedView {
            no_backend: tally(DROP_NO_BACKEND),
            unknown: tally(DROP_UNKNOWN),
            fragment: tally(DROP_FRAGMENT),
            malformed: tally(DROP_MALFORMED),
            full: tally(DROP_FULL),
            no_way: tally(DROP_NO_WAY),
            scope: tally(DROP_SCOPE),
            given_up: tally(DROP_GIVEN_UP),
            displaced,
        },
        counted: CountedView {
            begun: tally(TALLY_BEGUN),
            opened: tally(TALLY_OPENED),
            rescued: tally(TALLY_RESCUED),
            fast_packets: 0,
        },
        capacity: CapacityView { open: room.into(), opening: MAX_OPENING.into() },
    }
}

fn connection(entry: &Entry, now: Duration) -> Connection {
    let flow = &entry.flow;
    Connection {
        client: entry.client,
        vip: entry.vip,
        backend: entry.backend,
        port: entry.port,
        state: state(entry.stage, flow.state),
        host: flow.state & FLOW_HOST != 0,
        rescued: flow.tries > 0,
        age: now.saturating_sub(Duration::from_nanos(flow.begun)),
        idle: idle(entry, now),
    }
}

/// A refusal that was kept from the client leaves a connection that is being made as it is.
fn state(stage: Stage, bits: u32) -> ConnectionState {
    match stage {
        Stage::Opening => ConnectionState::Opening,
        Stage::Open if bits & FLOW_RESET != 0 => ConnectionState::Reset,
        Stage::Open if bits & (FLOW_CLIENT_DONE | FLOW_BACKEND_DONE) != 0 => ConnectionState::Closing,
        Stage::Open => ConnectionState::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_the_client_would_say() {
        for (stage, bits, expected) in [
            (Stage::Opening, 0, ConnectionState::Opening),
            (Stage::Opening, FLOW_RESET, ConnectionState::Opening),
            (Stage::Open, FLOW_HOST, ConnectionState::Open),
            (Stage::Open, FLOW_CLIENT_DONE, ConnectionState::Closing),
            (Stage::Open, FLOW_CLIENT_DONE | FLOW_BACKEND_DONE, ConnectionState::Closing),
            (Stage::Open, FLOW_RESET | FLOW_CLIENT_DONE, ConnectionState::Reset),
        ] {
            assert_eq!(state(stage, bits), expected, "{stage:?} {bits:#b}");
        }
    }

    #[test]
    fn each_reason_has_its_own_count() {
        let table = table(|what| 100 + u64::from(what), 9, 1024);
        let counts: Vec<_> = table.dropped.by_reason().into_iter().map(|(_, _, count)| count).collect();
        assert_eq!(counts, [100, 101, 102, 103, 104, 105, 106, 107, 9]);
        assert_eq!((table.counted.begun, table.counted.opened, table.counted.rescued), (108, 109, 110));
    }
}
