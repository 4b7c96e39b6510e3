//! The table of connections, read and thinned out.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::maps::{HashMap, MapData, MapError};
use lb_common::packet::{ClientKey, Flow, NodeKey};

use super::load::{SHAPES, room, sized};
use crate::{
    dataplane::{
        DataplaneError,
        services::{Pins, Shape, encode, open_hash, open_map},
    },
    os::bpf,
};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is being made.
    Opening,
    /// Both sides have agreed to it.
    Open,
}

/// A connection in the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// How far it has come.
    pub stage: Stage,
    /// Its client.
    pub client: SocketAddr,
    /// What its client asked for.
    pub vip: SocketAddr,
    /// Whom it got.
    pub backend: SocketAddr,
    /// The source port that the backend sees.
    pub port: u16,
    /// What the programs know of it.
    pub flow: Flow,
    key: NodeKey,
}

/// The four maps.
pub struct FlowMaps {
    opening: HashMap<MapData, ClientKey, NodeKey>,
    opening_flows: HashMap<MapData, NodeKey, Flow>,
    open: HashMap<MapData, ClientKey, NodeKey>,
    open_flows: HashMap<MapData, NodeKey, Flow>,
    /// The same maps as those with flows, to read all at once.
    whole: [(Stage, OwnedFd); 2],
}

impl FlowMaps {
    /// Opens the pinned maps, after a check of their shapes. Gives their size too.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins) -> Result<(Self, u32), DataplaneError> {
        let connections = room(pins)?.unwrap_or_default();
        let [.., opening, opening_flows] = &SHAPES;
        let [open, open_flows] = &sized(connections);
        let this = Self {
            opening: open_hash(pins, opening)?,
            opening_flows: open_hash(pins, opening_flows)?,
            open: open_hash(pins, open)?,
            open_flows: open_hash(pins, open_flows)?,
            whole: [
                (Stage::Open, descriptor(pins, open_flows)?),
                (Stage::Opening, descriptor(pins, opening_flows)?),
            ],
        };
        Ok((this, connections))
    }

    /// Tells every connection, of a table that may be long. One that comes or goes meanwhile may be missing, or be told twice.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn each(&self, mut each: impl FnMut(Entry)) -> Result<(), DataplaneError> {
        for (stage, map) in &self.whole {
            bpf::each_entry(map.as_fd(), |key, flow| each(Entry::new(*stage, key, flow)))
                .map_err(DataplaneError::failed("read", "the table of connections"))?;
        }
        Ok(())
    }

    /// The connections that are wanted.
    ///
    /// # Errors
    /// As [`FlowMaps::each`].
    pub fn read(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>, DataplaneError> {
        let mut entries = Vec::new();
        self.each(|entry| entries.extend(Some(entry).filter(&wanted)))?;
        Ok(entries)
    }

    /// Takes a connection out of the table, unless it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&mut self, entry: &Entry) -> Result<(), DataplaneError> {
        let client = ClientKey { client: entry.flow.client, vip: entry.flow.vip };
        let (clients, flows) = match entry.stage {
            Stage::Opening => (&mut self.opening, &mut self.opening_flows),
            Stage::Open => (&mut self.open, &mut self.open_flows),
        };
        // The client may have begun another one from the same port meanwhile.
        let same = matches!(clients.get(&client, 0), Ok(node) if node == entry.key);
        let removed = [if same { clients.remove(&client) } else { Ok(()) }, flows.remove(&entry.key)];
        for removed in removed {
            match removed {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(error)) if is_gone(&error) => {}
                Err(error) => return Err(DataplaneError::failed("write", "the table of connections")(error)),
            }
        }
        Ok(())
    }
}

fn is_gone(error: &aya::sys::SyscallError) -> bool {
    error.io_error.raw_os_error() == Some(libc::ENOENT)
}

fn descriptor(pins: &Pins, shape: &Shape) -> Result<OwnedFd, DataplaneError> {
    let object = format!("map {}", shape.name);
    open_map(pins, shape)?.fd().as_fd().try_clone_to_owned().map_err(DataplaneError::failed("open", object))
}

impl Entry {
    fn new(stage: Stage, key: NodeKey, flow: Flow) -> Self {
        Self {
            stage,
            client: encode::socket_addr(&flow.client),
            vip: encode::socket_addr(&flow.vip),
            backend: encode::socket_addr(&key.backend),
            port: u16::from_be(key.port as u16),
            flow,
            key,
        }
    }
}
