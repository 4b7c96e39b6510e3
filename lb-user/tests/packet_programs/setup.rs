//! A node with three backends and a client, told to the programs by their maps.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    Address, Endpoint,
    packet::{ClientKey, Flow, NodeKey, Rules, Way},
    socket::{Backend, Member, POLICY_ROUND_ROBIN, Service, Set},
};
use lb_user::dataplane::services::encode;

use super::{
    conversation::Kind,
    family::Family,
    kernel::{Bytes, Extra, Hook, Interface, Kernel, Outcome, Verdict, within},
    packet::{Link, Packet},
};

/// The ports that connections get on their way.
pub const FIRST_PORT: u16 = 20_000;

/// In which form packets come.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub family: Family,
    /// Without a link header.
    pub bare: bool,
}

pub struct Setup {
    pub kernel: Kernel,
    pub form: Form,
    pub rules: Rules,
    /// How the node reaches its backends.
    pub way: Way,
}

/// Where the client's connection is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Opening,
    Open,
}

/// Runs a test for both families, with and without a link header.
pub fn each(test: impl Fn(&mut Setup) + Sync) {
    each_of(&[()], |setup, ()| test(setup));
}

/// As [`each`], for every kind of connection.
pub fn each_kind(test: impl Fn(&mut Setup, Kind) + Sync) {
    each_of(&[Kind::Forwarded, Kind::Host, Kind::HostLocal], test);
}

fn each_of<T: Copy + Debug + Sync>(what: &[T], test: impl Fn(&mut Setup, T) + Sync) {
    within(|kernel| {
        let mut kernel = Some(kernel);
        for family in [Family::V4, Family::V6] {
            for bare in [false, true] {
                for what in what {
                    let mut setup = Setup::new(kernel.take().unwrap(), Form { family, bare });
                    eprintln!("{:?} {what:?}", setup.form);
                    test(&mut setup, *what);
                    kernel = Some(setup.kernel);
                }
            }
        }
    });
}

fn address(ip: IpAddr) -> Address {
    encode::endpoint(SocketAddr::new(ip, 0)).address()
}

impl Setup {
    /// Takes everything out of the maps and has three backends serve the VIP in turn.
    pub fn new(kernel: Kernel, form: Form) -> Self {
        let way = Way {
            source: address(form.family.node()),
            ifindex: kernel.index(Interface::Uplink),
            ..Way::default()
        };
        let rules = Rules {
            first_port: FIRST_PORT.into(),
            ports: 256,
            takes: 1,
            forwards: 1,
            masquerades: 1,
            rescues: 1,
            shortens: 1,
            reserved: 0,
        };
        let mut setup = Self { kernel, form, rules, way };
        setup.renew();
        setup
    }

    /// Begins anew.
    pub fn renew(&mut self) {
        self.clear();
        self.tell(|_| {});
        self.serve(3);
    }

    fn clear(&mut self) {
        fn empty<K: aya::Pod, V: aya::Pod>(kernel: &mut Kernel, name: &str) {
            let mut map = kernel.hash::<K, V>(name);
            for key in map.keys().collect::<Result<Vec<_>, _>>().unwrap() {
                map.remove(&key).unwrap();
            }
        }
        empty::<Endpoint, u32>(&mut self.kernel, "VIPS");
        for name in ["OPENING", "OPEN"] {
            empty::<ClientKey, NodeKey>(&mut self.kernel, name);
            empty::<NodeKey, Flow>(&mut self.kernel, &format!("{name}_FLOWS"));
        }
        let mut tally = self.kernel.array::<u64>("TALLY");
        for index in 0..tally.len() {
            tally.set(index, Bytes(0), 0).unwrap();
        }
    }

    /// Changes the rules.
    pub fn tell(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
        let rules = self.rules;
        self.kernel.array("RULES").set(0, Bytes(rules), 0).unwrap();
    }

    /// Has the first backends serve, each after the other.
    pub fn serve(&mut self, count: u32) {
        let Form { family, .. } = self.form;
        let vip = encode::endpoint(family.vip());
        let (service, set) = tables(vip, count);
        self.kernel.array("SETS").set(0, Bytes(set), 0).unwrap();
        self.kernel.array("SERVICES").set(0, Bytes(service), 0).unwrap();
        for number in 0..3 {
            let endpoint = encode::endpoint(family.backend(number as u8 + 1));
            let backend = Backend { endpoint, used: 1, ..Backend::default() };
            self.kernel.array("BACKENDS").set(number, Bytes(backend), 0).unwrap();
        }
        self.lead(self.way);
        self.kernel.hash("VIPS").insert(vip, 0_u32, 0).unwrap();
    }

    /// Takes the VIP away.
    pub fn withdraw(&mut self) {
        let vip = encode::endpoint(self.form.family.vip());
        self.kernel.hash::<Endpoint, u32>("VIPS").remove(&vip).unwrap();
    }

    /// Has all backends reached this way.
    pub fn lead(&mut self, way: Way) {
        self.way = way;
        for number in 0..3 {
            self.kernel.array("WAYS").set(number, Bytes(way), 0).unwrap();
        }
    }

    /// Has all backends on the node itself.
    pub fn lead_home(&mut self) {
        self.lead(Way { ifindex: 1, local: 1, ..self.way });
    }

    /// The hook for what comes in.
    pub fn comes_in(&self, interface: Interface) -> Hook {
        let bare = self.form.bare && interface != Interface::Loopback;
        Hook { outwards: false, interface, bare, forwarded: false }
    }

    /// The hook for what goes out, from a process of the node's or, not on the loopback interface, for others.
    pub fn goes_out(&self, interface: Interface) -> Hook {
        let loopback = interface == Interface::Loopback;
        Hook { outwards: true, interface, bare: self.form.bare && !loopback, forwarded: !loopback }
    }

    /// The link header of a packet at this hook.
    pub fn link(&self, hook: Hook) -> Link {
        if hook.bare {
            return Link::None;
        }
        let own = hook.interface.mac();
        let other = if hook.interface == Interface::Loopback { own } else { [2, 0, 0, 0, 0, 1] };
        let (to, from) = if hook.outwards { (other, own) } else { (own, other) };
        Link::Ethernet { to, from, tags: Vec::new() }
    }

    /// A segment at this hook.
    pub fn tcp(&self, hook: Hook, src: SocketAddr, dst: SocketAddr, flags: u8) -> Packet {
        Packet::tcp(self.link(hook), src, dst, flags)
    }

    /// Runs it and compares every byte.
    #[track_caller]
    pub fn becomes(&mut self, hook: Hook, packet: &Packet, verdict: Verdict, wanted: &Packet) {
        let outcome = self.kernel.run(hook, &packet.bytes());
        same(&outcome, &Outcome { verdict, bytes: wanted.bytes() }, &packet.bytes());
    }

    /// Runs it and sees it pass as it is.
    #[track_caller]
    pub fn leaves_alone(&mut self, hook: Hook, packet: &Packet) {
        self.becomes(hook, packet, Verdict::Next, packet);
    }

    /// Runs it and sees it dropped; its bytes do not matter.
    #[track_caller]
    pub fn drops(&mut self, hook: Hook, packet: &Packet) {
        assert_eq!(self.kernel.run(hook, &packet.bytes()).verdict, Verdict::Drop);
    }

    /// As one that stands for several segments.
    pub fn run_segmented(&mut self, hook: Hook, packet: &Packet) -> Outcome {
        let extra = Extra { segments: 2, ..Extra::default() };
        self.kernel.run_as(hook, &packet.bytes(), extra).unwrap().0
    }

    /// A client's connection to the VIP, as the table has it.
    pub fn known(&mut self, client: SocketAddr) -> Option<(Table, NodeKey, Flow)> {
        let key =
            ClientKey { client: encode::endpoint(client), vip: encode::endpoint(self.form.family.vip()) };
        for (table, name) in [(Table::Open, "OPEN"), (Table::Opening, "OPENING")] {
            let Ok(node) = self.kernel.hash::<ClientKey, NodeKey>(name).get(&key, 0) else { continue };
            let flow = self.kernel.hash::<NodeKey, Flow>(&format!("{name}_FLOWS")).get(&node, 0).unwrap();
            return Some((table, node, flow));
        }
        None
    }

    /// Every connection in the table.
    pub fn flows(&mut self) -> Vec<(NodeKey, Flow)> {
        let mut flows = Vec::new();
        for name in ["OPEN_FLOWS", "OPENING_FLOWS"] {
            flows.extend(self.kernel.hash::<NodeKey, Flow>(name).iter().filter_map(Result::ok));
        }
        flows.sort_by_key(|(key, _)| (key.port, key.backend.port()));
        flows
    }

    /// The numbers in the table: of clients and of flows, of connections that are being made and of others.
    pub fn counted(&mut self) -> [usize; 4] {
        let clients = |kernel: &mut Kernel, name| kernel.hash::<ClientKey, NodeKey>(name).keys().count();
        let flows = |kernel: &mut Kernel, name| kernel.hash::<NodeKey, Flow>(name).keys().count();
        let kernel = &mut self.kernel;
        [
            clients(kernel, "OPENING"),
            flows(kernel, "OPENING_FLOWS"),
            clients(kernel, "OPEN"),
            flows(kernel, "OPEN_FLOWS"),
        ]
    }

    /// What was counted so far, without zeros.
    pub fn tally(&mut self) -> BTreeMap<u32, u64> {
        let tally = self.kernel.array::<u64>("TALLY");
        (0..tally.len())
            .map(|index| (index, tally.get(&index, 0).unwrap().0))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    pub fn backend_record(&mut self, index: u32) -> Backend {
        self.kernel.array::<Backend>("BACKENDS").get(&index, 0).unwrap().0
    }
}

fn tables(vip: Endpoint, count: u32) -> (Service, Set) {
    let mut members = [Member { backend: 0, upto: u32::MAX }; _];
    for (number, member) in members.iter_mut().enumerate().take(count as usize) {
        *member = Member { backend: number as u32, upto: number as u32 + 1 };
    }
    let set = Set { count, policy: POLICY_ROUND_ROBIN, reserve: 0, total: count, stride: 1, members };
    (Service { vip, active: 0, turn: 0, name: [0; _] }, set)
}

/// Compares, and shows where they part.
#[track_caller]
pub fn same(found: &Outcome, wanted: &Outcome, given: &[u8]) {
    if found == wanted {
        return;
    }
    let at = found.bytes.iter().zip(&wanted.bytes).position(|(a, b)| a != b);
    panic!(
        "first difference at {at:?}\ngiven:  {}\nfound:  {:?} {}\nwanted: {:?} {}",
        hex(given),
        found.verdict,
        hex(&found.bytes),
        wanted.verdict,
        hex(&wanted.bytes)
    );
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + " ")
        .collect()
}
