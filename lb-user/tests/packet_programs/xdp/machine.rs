//! A node with routes, neighbours and wires, and XDP's program on them.

use std::{fs, net::SocketAddr, os::fd::AsFd as _, os::fd::AsRawFd as _, os::fd::OwnedFd};

use aya::programs::Xdp;
use lb_common::packet::{Flow, NodeKey, Rules, WIRE_RETURNS, WIRE_SENDS, Way, Wire};
use lb_user::os::bpf::xdp::link_create;

use super::super::{
    conversation::{Conversation, Kind},
    family::Family,
    kernel::{Attributes, Hook, Interface, ip, run, within},
    packet::{Link, Packet},
    setup::{Form, Setup, hex},
};

/// The neighbours that the packets are for, on both interfaces.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 7];
pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// enum xdp_action, include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Returned,
    Redirected,
    Other(u32),
}

pub struct Machine {
    pub setup: Setup,
    program: i32,
    buffer: Vec<u8>,
    /// Attached, so that the interfaces have queues for XDP.
    _links: Vec<OwnedFd>,
}

/// Runs a test for both families, with a connection that is open.
pub fn each(test: impl Fn(&mut Machine, &Conversation) + Sync) {
    within(|kernel| {
        let mut machine = Machine::new(Setup::new(kernel, Form { family: Family::V4, bare: false }));
        for family in [Family::V4, Family::V6] {
            eprintln!("{family:?}");
            machine.setup.form.family = family;
            machine.setup.lead(Way {
                source: lb_user::dataplane::services::encode::endpoint((family.node(), 0).into()).address(),
                ..machine.setup.way
            });
            machine.renew();
            let talk = Conversation::open(&mut machine.setup, Kind::Forwarded);
            test(&mut machine, &talk);
        }
    });
}

impl Machine {
    fn new(mut setup: Setup) -> Self {
        lead_everywhere();
        // What XDP leaves to TC goes by the stack here.
        setup.tell(|rules| rules.shortens = 0);
        let program: &mut Xdp = setup.kernel.ebpf().program_mut("lbctl_wire").unwrap().try_into().unwrap();
        // Another test may have had these maps and programs before.
        if program.fd().is_err() {
            program.load().unwrap();
        }
        let fd = program.fd().unwrap().as_fd();
        let program = fd.as_raw_fd();
        let fd = fd.try_clone_to_owned().unwrap();
        let wires = [Interface::Facing, Interface::Uplink];
        let links = wires.map(|wire| link_create(fd.as_fd(), setup.kernel.index(wire)).unwrap());
        Self { setup, program, buffer: vec![0; 8192], _links: links.into() }
    }

    /// Begins anew.
    pub fn renew(&mut self) {
        self.setup.renew();
        for wire in [Interface::Facing, Interface::Uplink] {
            self.wire(wire, WIRE_SENDS | WIRE_RETURNS);
        }
    }

    /// Says what can be done with a wire.
    pub fn wire(&mut self, wire: Interface, can: u64) {
        let [a, b, c, d, e, f] = wire.mac();
        let mac = u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
        let index = u64::from(self.setup.kernel.index(wire));
        self.setup.kernel.hash("WIRES").insert(index, Wire { mac, can }, 0).unwrap();
    }

    /// A segment at the wire that it comes in by.
    pub fn tcp(&self, wire: Interface, ends: (SocketAddr, SocketAddr), flags: u8) -> Packet {
        Packet::tcp(self.setup.link(self.hook(wire)), ends.0, ends.1, flags)
    }

    fn hook(&self, wire: Interface) -> Hook {
        self.setup.comes_in(wire)
    }

    /// Runs the program on bytes that came in by a wire.
    pub fn run(&mut self, wire: Interface, bytes: &[u8]) -> (Action, Vec<u8>) {
        let (action, bytes, _) = self.repeat(wire, bytes, 1);
        (action, bytes)
    }

    /// As often as that; with the time of one run in ns.
    pub fn repeat(&mut self, wire: Interface, bytes: &[u8], repeat: u32) -> (Action, Vec<u8>, u32) {
        let context = Context {
            data_end: bytes.len() as u32,
            ingress_ifindex: self.setup.kernel.index(wire),
            ..Context::default()
        };
        let mut attributes = Attributes {
            program: self.program as u32,
            data_size_in: bytes.len() as u32,
            data_size_out: self.buffer.len() as u32,
            data_in: bytes.as_ptr() as u64,
            data_out: self.buffer.as_mut_ptr() as u64,
            repeat,
            ctx_size_in: size_of::<Context>() as u32,
            ctx_in: std::ptr::from_ref(&context) as u64,
            ..Attributes::default()
        };
        run(&mut attributes).unwrap();
        let action = match attributes.retval {
            2 => Action::Pass,
            3 => Action::Returned,
            4 => Action::Redirected,
            other => Action::Other(other),
        };
        (action, self.buffer[..attributes.data_size_out as usize].to_vec(), attributes.duration)
    }

    /// Sees it go on to TC as it is, and nothing noted of it.
    #[track_caller]
    pub fn passes(&mut self, what: &str, wire: Interface, bytes: &[u8]) {
        let before = (self.setup.flows(), self.taken());
        let (action, found) = self.run(wire, bytes);
        assert_eq!(action, Action::Pass, "{what}: {}", hex(bytes));
        assert_eq!(hex(&found), hex(bytes), "{what}");
        assert_eq!((self.setup.flows(), self.taken()), before, "{what}");
    }

    /// Sees it become this.
    #[track_caller]
    pub fn becomes(&mut self, wire: Interface, packet: &Packet, action: Action, wanted: &Packet) {
        let found = self.run(wire, &packet.bytes());
        assert_eq!((found.0, hex(&found.1)), (action, hex(&wanted.bytes())), "from {}", hex(&packet.bytes()));
    }

    /// How many packets it took.
    pub fn taken(&mut self) -> u64 {
        let map = self.setup.kernel.ebpf().map_mut("FAST").unwrap();
        let fast = aya::maps::PerCpuArray::<_, u64>::try_from(map).unwrap();
        fast.get(&0, 0).unwrap().iter().sum()
    }

    /// Changes what is known of the one connection.
    pub fn flow(&mut self, change: impl FnOnce(&mut Flow)) {
        let (key, mut flow) = self.setup.flows()[0];
        change(&mut flow);
        self.setup.kernel.hash::<NodeKey, Flow>("OPEN_FLOWS").insert(key, flow, 0).unwrap();
    }

    pub fn rules(&mut self, change: impl FnOnce(&mut Rules)) {
        self.setup.tell(change);
    }
}

/// The node knows the ways to the client and to the first backend.
pub fn lead_everywhere() {
    for line in ["link set facing up", "link set uplink up"] {
        ip(line);
    }
    for (net, interface, neighbour, mac) in [
        ("8.0.1.0/24", "facing", "8.0.1.7", CLIENT_MAC),
        ("8.0.2.0/24", "uplink", "8.0.2.1", BACKEND_MAC),
        ("2001:db8:86dd:1::/64", "facing", "2001:db8:86dd:1::7", CLIENT_MAC),
        ("2001:db8:86dd:2::/64", "uplink", "2001:db8:86dd:2::1", BACKEND_MAC),
    ] {
        ip(&format!("route add {net} dev {interface}"));
        neighbour_is(neighbour, mac, interface);
    }
    forwards(true);
}

/// Whether the node forwards.
pub fn forwards(does: bool) {
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{name}"), if does { "1" } else { "0" }).unwrap();
    }
}

pub fn neighbour_is(neighbour: &str, mac: [u8; 6], interface: &str) {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    ip(&format!("neigh replace {neighbour} lladdr {mac} dev {interface} nud permanent"));
}

/// What a packet is one hop on.
pub fn one_hop_on(packet: &Packet, ends: (SocketAddr, SocketAddr), leaves: Interface, to: [u8; 6]) -> Packet {
    let mut wanted = packet.between(ends.0, ends.1).with_ip(|header| header.hops -= 1);
    wanted.link = Link::Ethernet { to, from: leaves.mac(), tags: Vec::new() };
    wanted
}

/// struct xdp_md.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}
