//! Programs of the tests' own that count packets and are written instruction by instruction.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::maps::{Array, Map, MapData};
use lb_tests::Lab;
use lb_user::os::bpf::{self, Kind, instruction};

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
    let counter = bpf::counter().unwrap();
    let program = [
        instruction(0x62, 10, 0, -4, 0),                 // *(u32 *)(r10 - 4) = 0
        instruction(0xbf, 2, 10, 0, 0),                  // r2 = r10
        instruction(0x07, 2, 0, 0, -4),                  // r2 -= 4
        instruction(0x18, 1, 1, 0, counter.as_raw_fd()), // r1 = the map
        0,                                               //
        instruction(0x85, 0, 0, 0, 1),                   // r0 = bpf_map_lookup_elem(r1, r2)
        instruction(0x15, 0, 0, 2, 0),                   // if r0 == 0 goto the end
        instruction(0xb7, 1, 0, 0, 1),                   // r1 = 1
        instruction(0xc3, 0, 1, 0, 0),                   // lock *(u32 *)r0 += r1
        instruction(0xb7, 0, 0, 0, verdict),             // the end: r0 = verdict
        instruction(0x95, 0, 0, 0, 0),                   // exit
    ];
    let program = bpf::program(kind, name, &program).unwrap();
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
