//! The connections that were sent to another backend.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use aya::maps::{HashMap, MapData, MapError};
use lb_common::packet::{ClientKey, Flow, NodeKey};

use super::load::RESCUE_SHAPES;
use crate::dataplane::{
    DataplaneError,
    services::{Pins, encode, open_hash},
};

/// The two maps.
pub struct RescuedMaps {
    keys: HashMap<MapData, ClientKey, NodeKey>,
    flows: HashMap<MapData, NodeKey, Flow>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Rescued {
    /// The socket's own end.
    pub client: SocketAddr,
    /// The backend that it was meant for, which the socket takes for its peer.
    pub meant: SocketAddr,
    /// The backend that it got.
    pub backend: SocketAddr,
    /// The source port that the backend sees.
    pub port: u16,
    /// What the programs know of it.
    pub flow: Flow,
    node: NodeKey,
}

impl RescuedMaps {
    /// Opens the pinned maps, after a check of their shapes.
    ///
    /// # Errors
    /// When one is missing, or is somebody else's.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [.., keys, flows] = &RESCUE_SHAPES;
        Ok(Self { keys: open_hash(pins, keys)?, flows: open_hash(pins, flows)? })
    }

    /// All of them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> Result<Vec<Rescued>, DataplaneError> {
        let mut found = Vec::new();
        for entry in self.flows.iter() {
            match entry {
                Ok((node, flow)) => found.push(Rescued {
                    client: encode::socket_addr(&flow.client),
                    meant: encode::socket_addr(&flow.vip),
                    backend: encode::socket_addr(&node.backend),
                    port: u16::from_be(node.port as u16),
                    flow,
                    node,
                }),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(found)
    }

    /// Takes one out, unless it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&mut self, rescued: &Rescued) -> Result<(), DataplaneError> {
        let key = ClientKey { client: rescued.flow.client, vip: rescued.flow.vip };
        // The same port may have been used for another one meanwhile.
        let same = matches!(self.keys.get(&key, 0), Ok(node) if node == rescued.node);
        let removed = [if same { self.keys.remove(&key) } else { Ok(()) }, self.flows.remove(&rescued.node)];
        for removed in removed {
            match removed {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// The ends of the sockets that were meant for a backend and got another: what they hear is not its voice. Empty where
    /// nothing is pinned.
    pub fn not_of(bpffs_pins: &Pins, backend: SocketAddr) -> BTreeSet<SocketAddr> {
        let found = Self::open(bpffs_pins).and_then(|maps| maps.read()).unwrap_or_default();
        found.into_iter().filter(|rescued| rescued.meant == backend).map(|rescued| rescued.client).collect()
    }

    /// Whether the maps are pinned.
    pub fn are_pinned(pins: &Pins) -> bool {
        let pin: &Path = &pins.map(RESCUE_SHAPES[4].name);
        pin.exists()
    }
}

fn failed(error: MapError) -> DataplaneError {
    DataplaneError::failed("read", "the rescued connections")(error)
}
