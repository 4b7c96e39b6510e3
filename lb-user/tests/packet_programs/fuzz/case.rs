//! What is tried.

use std::net::SocketAddr;

use lb_common::packet::{NodeKey, Way};
use lb_user::dataplane::services::encode;
use proptest::{collection::vec, option, prelude::*, sample::Index};

use crate::{
    family::Family,
    kernel::{Hook, Interface},
    packet::{Body, DESTINATION, FRAGMENT, HOP_BY_HOP, Packet, ROUTING, TAG},
    setup::{Form, Setup},
};

/// A node, and what it is shown.
#[derive(Clone, Debug)]
pub struct Case {
    form: (bool, bool),
    /// takes, forwards, masquerades, rescues.
    rules: [bool; 4],
    ports: u32,
    serving: u32,
    /// 0: local, 1: none, else remote.
    way: u8,
    pub shots: Vec<Shot>,
}

/// A packet at a hook. Numbers choose from what there is.
#[derive(Clone, Debug)]
pub struct Shot {
    hook: u8,
    /// 0..=5: the ends of a connection that is known, as some hook sees it. Else from these.
    role: u8,
    ends: [(u8, u8); 2],
    flags: u8,
    numbers: (u32, u32),
    payload: usize,
    options: (usize, usize),
    /// For IPv6.
    chain: Vec<u8>,
    fragment: Option<(u16, bool)>,
    tags: usize,
    /// An ICMP error about it instead, of this kind, that shows so much.
    error: Option<(u8, u8, usize)>,
    pub segments: bool,
    /// Bytes that are changed.
    changes: Vec<(Index, u8)>,
    cut: Option<Index>,
    /// Instead of all that.
    noise: Option<Vec<u8>>,
}

pub fn case() -> impl Strategy<Value = Case> {
    (
        any::<(bool, bool)>(),
        (prop::bool::weighted(0.9), prop::bool::weighted(0.9), any::<bool>(), any::<bool>()),
        prop_oneof![1 => Just(0_u32), 1 => Just(1), 8 => Just(256)],
        0..4_u32,
        0..6_u8,
        vec(shot(), 1..24),
    )
        .prop_map(|(form, (takes, forwards, masquerades, rescues), ports, serving, way, shots)| Case {
            form,
            rules: [takes, forwards, masquerades, rescues],
            ports,
            serving,
            way,
            shots,
        })
}

fn shot() -> impl Strategy<Value = Shot> {
    let whence = (0..8_u8, 0..9_u8, [any::<(u8, u8)>(), any::<(u8, u8)>()]);
    let flags = prop_oneof![3 => Just(2_u8), 2 => Just(18), 4 => Just(16), 1 => Just(4), 1 => Just(17), 1 => any::<u8>()];
    let body = (flags, any::<(u32, u32)>(), prop_oneof![Just(0_usize), 0..64_usize, 0..1500_usize]);
    let options = (
        prop_oneof![3 => Just(0_usize), 1 => 0..11_usize],
        prop_oneof![2 => Just(0_usize), 1 => 0..11_usize],
    );
    let fragment = option::weighted(0.05, (0..3_u16, any::<bool>()));
    let headers =
        (options, vec(any::<u8>(), 0..6), fragment, prop_oneof![4 => Just(0_usize), 1 => 0..4_usize]);
    let error = option::weighted(0.25, (any::<u8>(), any::<u8>(), prop_oneof![Just(8_usize), 0..200_usize]));
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<(Index, u8)>(), 1..4)];
    let cut = option::weighted(0.1, any::<Index>());
    let noise = option::weighted(0.03, vec(any::<u8>(), 14..200));
    let harm = (any::<bool>(), changes, cut, noise);
    (whence, body, headers, error, harm).prop_map(|(whence, body, headers, error, harm)| Shot {
        hook: whence.0,
        role: whence.1,
        ends: whence.2,
        flags: body.0,
        numbers: body.1,
        payload: body.2,
        options: headers.0,
        chain: headers.1,
        fragment: headers.2,
        tags: headers.3,
        error,
        segments: harm.0 && harm.1.is_empty(),
        changes: harm.1,
        cut: harm.2,
        noise: harm.3,
    })
}

impl Case {
    /// Lays it into the maps.
    pub fn prepare(&self, setup: &mut Setup) {
        let family = if self.form.0 { Family::V6 } else { Family::V4 };
        setup.form = Form { family, bare: self.form.1 };
        setup.renew();
        setup.tell(|rules| {
            let [takes, forwards, masquerades, rescues] = self.rules.map(u32::from);
            rules.ports = self.ports;
            (rules.takes, rules.forwards) = (takes, forwards);
            (rules.masquerades, rules.rescues) = (masquerades, rescues);
        });
        setup.serve(self.serving);
        let source = encode::endpoint(SocketAddr::new(family.node(), 0)).address();
        setup.lead(match self.way {
            0 => Way { source, ifindex: 1, local: 1, ..Way::default() },
            1 => Way::default(),
            way => {
                let (in_place, on_link) = (way & 1, way >> 1 & 1);
                let ifindex = setup.kernel.index(Interface::Uplink);
                Way { source, ifindex, in_place, on_link, ..Way::default() }
            }
        });
    }

    /// Whether the backends are on the node.
    pub fn is_local(&self) -> bool {
        self.way == 0
    }

    /// Whether there is a way to them.
    pub fn has_way(&self) -> bool {
        self.way != 1
    }
}

impl Shot {
    pub fn hook(&self, setup: &Setup) -> Hook {
        let interface =
            [Interface::Loopback, Interface::Facing, Interface::Uplink][usize::from(self.hook / 2 % 3)];
        if self.hook.is_multiple_of(2) {
            return setup.comes_in(interface);
        }
        // A process' own, or by way of the node.
        Hook { forwarded: self.hook > 5, ..setup.goes_out(interface) }
    }

    pub fn bytes(&self, setup: &mut Setup, hook: Hook) -> Vec<u8> {
        if let Some(noise) = &self.noise {
            return self.noise_at(setup, hook, noise);
        }
        let mut bytes = self.packet(setup, hook).bytes();
        for (place, byte) in &self.changes {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        if let Some(cut) = &self.cut {
            bytes.truncate(14 + cut.index(bytes.len()));
        }
        bytes
    }

    /// Behind a link header that lets the program look at it.
    fn noise_at(&self, setup: &Setup, hook: Hook, noise: &[u8]) -> Vec<u8> {
        let link = setup.link(hook);
        let (src, dst) = (setup.form.family.client(), setup.form.family.vip());
        let whole = Packet::tcp(link, src, dst, self.flags);
        let mut bytes = whole.bytes()[..whole.l3()].to_vec();
        bytes.extend_from_slice(noise);
        bytes
    }

    fn packet(&self, setup: &mut Setup, hook: Hook) -> Packet {
        let (src, dst) = self.ends(setup);
        let is_v4 = src.is_ipv4();
        let packet = setup
            .tcp(hook, src, dst, self.flags)
            .with(|segment| {
                (segment.sequence, segment.acknowledged) = self.numbers;
                segment.options = vec![1; self.options.0 * 4];
            })
            .data(&vec![0xa5; self.payload])
            .with_ip(|ip| {
                if is_v4 {
                    ip.options = vec![1; self.options.1 * 4];
                    ip.extensions.clear();
                    (ip.offset, ip.more) = self.fragment.unwrap_or_default();
                } else {
                    ip.extensions = self.chain.iter().map(|link| self.extension(*link)).collect();
                }
            })
            .tagged(&vec![TAG; self.tags]);
        let Some((kind, code, more)) = self.error else { return packet };
        let mut about = packet.between(dst, src);
        about.ip.extensions.clear();
        let shown = if is_v4 { 20 + about.ip.options.len() } else { 40 } + more;
        let family = setup.form.family;
        let from = if code < 128 { family.router() } else { src.ip() };
        // Most of the time one of those that are translated.
        let kind = match (kind % 5, is_v4) {
            (4, _) => kind,
            (0, true) => 12,
            (1, true) => 11,
            (_, true) => 3,
            (n, false) => n + 1,
        };
        let error = Packet::error(packet.link.clone(), from, dst.ip(), (kind, code), &about, shown);
        debug_assert!(matches!(error.body, Body::Error { .. }));
        error
    }

    fn extension(&self, choice: u8) -> (u8, Vec<u8>) {
        let place = self.fragment.map_or(0, |(offset, more)| offset << 3 | u16::from(more));
        let [high, low] = place.to_be_bytes();
        match choice % 4 {
            0 => (HOP_BY_HOP, vec![0, 1, 4, 0, 0, 0, 0]),
            1 => (ROUTING, vec![0, 4, choice / 200, 0, 0, 0, 0]),
            2 => (FRAGMENT, vec![0, high, low, 1, 2, 3, 4]),
            _ => (DESTINATION, [&[1, 1, 12][..], &[0; 12]].concat()),
        }
    }

    fn ends(&self, setup: &mut Setup) -> (SocketAddr, SocketAddr) {
        let family = setup.form.family;
        let known = setup.flows();
        let chosen = known.get(usize::from(self.ends[0].0) % known.len().max(1)).copied();
        if let Some((NodeKey { backend, port }, flow)) = chosen
            && self.role < 6
        {
            let port = u16::from_be(port as u16);
            let at = |address| {
                SocketAddr::new(encode::socket_addr(&lb_common::Endpoint::new(address, 0)).ip(), port)
            };
            let (client, vip) = (encode::socket_addr(&flow.client), encode::socket_addr(&flow.vip));
            let (backend, middle, source) =
                (encode::socket_addr(&backend), at(flow.client.address()), at(flow.source));
            return [
                (client, vip),
                (vip, client),
                (backend, source),
                (source, backend),
                (middle, backend),
                (backend, middle),
            ][usize::from(self.role)];
        }
        if self.role < 6 {
            let own = SocketAddr::new(family.node(), 40_123);
            return (if self.hook % 4 == 1 { own } else { family.client() }, family.vip());
        }
        let end = |(address, port): (u8, u8)| {
            let outside = family.outside(address);
            let ips = [
                outside,
                outside,
                family.client().ip(),
                family.vip().ip(),
                family.backend(1).ip(),
                family.node(),
            ];
            let ports = [6443, 16_443, 40_123, 20_000, 20_001, u16::from(port)];
            // Of those that are none of the programs' business more.
            let from = if self.role == 8 { 2 } else { ips.len() };
            SocketAddr::new(ips[usize::from(address) % from], ports[usize::from(port) % ports.len()])
        };
        (end(self.ends[0]), end(self.ends[1]))
    }
}
