//! Programs that count packets.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{Array, Map, MapData};
use lb_tests::Lab;
use lb_user::os::bpf::{self, Kind};

/// XDP_PASS, include/uapi/linux/bpf.h.
const PASS: i32 = 2;

/// How many packets a program has seen.
pub struct Counter(Array<MapData, u32>);

impl Counter {
    pub fn count(&self) -> u32 {
        self.0.get(&0, 0).unwrap()
    }
}

/// A program that counts packets and says this of each.
pub fn counting(kind: Kind, name: &str, verdict: i32) -> (OwnedFd, Counter) {
    let (program, counter) = bpf::counting(kind, name, verdict).unwrap();
    let map = Map::from_map_data(MapData::from_fd(counter).unwrap()).unwrap();
    (program, Counter(Array::try_from(map).unwrap()))
}

/// Counts what the node's loopback interface receives, in XDP's generic mode: before everything else, so that nobody is there
/// who would have to be shown the packets. It goes when dropped.
pub struct ReceivedByLo<'a> {
    lab: &'a Lab,
    counter: Counter,
}

impl<'a> ReceivedByLo<'a> {
    pub fn on(lab: &'a Lab) -> Self {
        let (program, counter) = counting(Kind::Xdp, "received", PASS);
        let pin = lab.pins().parent().unwrap().join("received");
        bpf::pin(program.as_fd(), &pin).unwrap();
        set(lab, &["pinned", pin.to_str().unwrap()]);
        std::fs::remove_file(&pin).unwrap();
        Self { lab, counter }
    }

    /// So many packets so far.
    pub fn count(&self) -> u32 {
        self.counter.count()
    }
}

impl Drop for ReceivedByLo<'_> {
    fn drop(&mut self) {
        set(self.lab, &["off"]);
    }
}

fn set(lab: &Lab, what: &[&str]) {
    let command = [&["ip", "link", "set", "dev", "lo", "xdpgeneric"], what].concat();
    lab.node().run(&command).unwrap().success().unwrap();
}
