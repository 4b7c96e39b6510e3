//! The maps that only this dataplane has.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapData;
use lb_common::socket::Settings;

use super::load::SHAPES;
use crate::dataplane::{
    DataplaneError,
    services::{Pins, kernel::Shared, open_map},
};

/// What the programs are told and report, and what sockets remember.
pub struct SocketMaps {
    settings: Shared<Settings>,
    tracks: MapData,
}

impl SocketMaps {
    /// Opens the pinned maps, after a check of their shapes.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        let [settings, tracks] = SHAPES.each_ref().map(|s| open_map(pins, s));
        let settings = Shared::map(settings?.fd(), 1);
        Ok(Self {
            settings: settings.map_err(DataplaneError::failed("map into memory", "SETTINGS"))?,
            tracks: tracks?,
        })
    }

    /// The descriptor of the map that remembers what a socket was connected to, for NETLINK_SOCK_DIAG.
    pub fn tracks_fd(&self) -> i32 {
        self.tracks.fd().as_fd().as_raw_fd()
    }

    /// What the programs were told, and what they report.
    pub fn settings(&self) -> Settings {
        self.settings.read(0)
    }

    /// Says whose sockets are served: those of the network namespace with this cookie; 0: all.
    pub fn set_netns_cookie(&mut self, cookie: u64) {
        self.settings.set_netns_cookie(cookie);
    }
}
