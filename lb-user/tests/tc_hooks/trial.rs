//! Programs that count, and a place to pin them.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::maps::{Array, Map, MapData};
use lb_user::{
    dataplane::{
        DataplaneError,
        tc::{Direction, Hooks, Hung, Mechanism, Owner, Place, Program},
    },
    os::{bpf, netlink::interfaces},
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::fixture::Netns;

/// TC_ACT_UNSPEC and TC_ACT_OK: the next one decides, or none does.
pub const NEXT: i32 = -1;
pub const PASS: i32 = 0;

/// A program that counts packets.
pub struct Counting {
    pub program: Program,
    counter: Array<MapData, u32>,
}

impl Counting {
    pub fn new(name: &str, verdict: i32) -> Self {
        let (program, counter) = bpf::counting(bpf::Kind::Classifier, name, verdict).unwrap();
        let map = Map::from_map_data(MapData::from_fd(counter).unwrap()).unwrap();
        Self { program: Program::new(program).unwrap(), counter: Array::try_from(map).unwrap() }
    }

    pub fn id(&self) -> u32 {
        self.program.id()
    }

    pub fn count(&self) -> u32 {
        self.counter.get(&0, 0).unwrap()
    }
}

/// A bpffs of the test's own.
pub struct Pins(tempfile::TempDir);

impl Pins {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount("test", dir.path(), "bpf", MountFlags::empty(), None).unwrap();
        Self(dir)
    }

    pub fn links(&self, owner: Owner) -> PathBuf {
        self.0.path().join(owner.name()).join("links")
    }

    pub fn made(&self) -> PathBuf {
        self.0.path().join("qdiscs")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _unmounted = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// What did not succeed.
pub type Failures = Vec<(Place, DataplaneError)>;

/// Hooks in a namespace.
pub struct Bench<'a> {
    pub node: &'a Netns,
    pub pins: &'a Pins,
    pub owner: Owner,
    pub mechanism: Mechanism,
}

impl Bench<'_> {
    pub fn hooks(&self) -> Hooks {
        let (links, made) = (self.pins.links(self.owner), self.pins.made());
        self.node.run(|| Hooks::open(&links, &made, self.owner, Some(self.mechanism))).unwrap()
    }

    pub fn observe(&self) -> BTreeMap<Place, Hung> {
        let hooks = self.hooks();
        self.node.run(|| hooks.observe()).unwrap()
    }

    /// Reconciles: how many changes were made, and what failed.
    pub fn try_set(&self, wanted: &[(Place, &Counting)]) -> (usize, Failures) {
        let hooks = self.hooks();
        let wanted = wanted.iter().map(|(place, counting)| (*place, &counting.program)).collect();
        let mended = self.node.run(|| hooks.reconcile(&wanted, Duration::MAX)).unwrap();
        (mended.made, mended.failures)
    }

    /// Reconciles until nothing is left to do, which must be soon; checks that it is as wanted.
    pub fn set(&self, wanted: &[(Place, &Counting)]) {
        let (_, failures) = self.try_set(wanted);
        assert!(failures.is_empty(), "{failures:?}");
        let expected: BTreeMap<_, _> =
            wanted.iter().map(|(place, c)| (*place, Hung::Program(c.id()))).collect();
        assert_eq!(self.observe(), expected, "{}", self.mechanism);
        assert_eq!(self.try_set(wanted).0, 0, "it comes to rest");
    }

    pub fn cleanup(&self) -> Vec<Place> {
        let (links, made) = (self.pins.links(self.owner), self.pins.made());
        self.node.run(|| Hooks::cleanup(&links, &made, self.owner)).unwrap()
    }
}

/// What this kernel has.
pub fn mechanisms(pins: &Pins) -> Vec<Mechanism> {
    let found =
        Hooks::open(&pins.links(Owner::Packet), &pins.made(), Owner::Packet, None).unwrap().mechanism();
    let mut mechanisms = vec![found, Mechanism::Clsact];
    mechanisms.dedup();
    mechanisms
}

/// Runs a test by every mechanism, each in a namespace of its own with the interfaces eth0 and eth1, the ends of a cable.
pub fn by_each(test: impl Fn(&Bench<'_>)) {
    let pins = Pins::new();
    for mechanism in mechanisms(&pins) {
        let node = Netns::new("node");
        node.sh("ip link add eth0 type veth peer name eth1
                 ip link set eth0 up; ip link set eth1 up");
        let pins = Pins::new();
        test(&Bench { node: &node, pins: &pins, owner: Owner::Packet, mechanism });
    }
}

/// The number of an interface.
pub fn number(node: &Netns, name: &str) -> u32 {
    let found = node.run(interfaces::list).unwrap().found;
    found.iter().find(|interface| interface.name == name).unwrap().index
}

pub fn inward(interface: u32) -> Place {
    Place { interface, direction: Direction::In }
}

pub fn outward(interface: u32) -> Place {
    Place { interface, direction: Direction::Out }
}

/// Sends packets over the loopback interface of a namespace.
pub fn knock(node: &Netns, packets: usize) {
    node.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:9").unwrap();
        for _ in 0..packets {
            // The refusal of the packet before is no failure.
            let _refused = socket.send(b"x");
        }
    });
}
