//! What comes before a segment: options, extension headers, fragments, tags.

use std::net::SocketAddr;

use lb_common::packet::DROP_FRAGMENT;

use super::{
    conversation::{Conversation, Kind, Step},
    family::Family,
    kernel::Verdict,
    packet::{ACK, Body, DESTINATION, FRAGMENT, HOP_BY_HOP, OUTER_TAG, PSH, Packet, ROUTING, SYN, TAG, TCP},
    setup::{Setup, each, each_kind},
};

/// Every step of a connection, to the backend and back.
pub fn steps(talk: &Conversation, setup: &Setup) -> Vec<Step> {
    let mut steps = talk.toward(setup);
    steps.extend(talk.back(setup));
    steps
}

pub fn data(setup: &Setup, step: &Step) -> Packet {
    setup.tcp(step.hook, step.before.0, step.before.1, ACK | PSH).data(b"an odd number of bytes.")
}

/// Goes through, changed in nothing but its ends.
#[track_caller]
fn goes(setup: &mut Setup, talk: &Conversation, change: impl Fn(Packet) -> Packet) {
    let steps = steps(talk, setup);
    talk.goes(setup, &steps, |setup, step| change(data(setup, step)));
}

/// Is left alone at every hook.
#[track_caller]
fn passes(setup: &mut Setup, talk: &Conversation, change: impl Fn(Packet) -> Packet) {
    for step in steps(talk, setup) {
        let packet = change(data(setup, &step));
        setup.leaves_alone(step.hook, &packet);
    }
}

/// An extension header of 8 or more bytes but its first, filled with an option that pads.
pub fn padding(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length - 1];
    bytes[0] = (length / 8 - 1) as u8;
    (bytes[1], bytes[2]) = (1, (length - 4) as u8);
    bytes
}

/// A fragment header but its first byte.
pub fn fragment(offset: u16, more: bool) -> Vec<u8> {
    let place = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[0], &place[..], &[1, 2, 3, 4]].concat()
}

#[test]
fn options_of_ipv4_are_passed_over() {
    each_kind(|setup, kind| {
        if setup.form.family == Family::V6 {
            return;
        }
        let talk = Conversation::open(setup, kind);
        // Without a link header the first byte decides whether the packet is for this machine: see `kernel`.
        for length in
            (4..=40).step_by(4).filter(|length| !setup.form.bare || length / 4 % 2 == 0).collect::<Vec<_>>()
        {
            goes(setup, &talk, |packet| packet.with_ip(|ip| ip.options = vec![1; length]));
        }
    });
}

#[test]
fn extension_headers_of_ipv6_are_passed_over() {
    each_kind(|setup, kind| {
        if setup.form.family == Family::V4 {
            return;
        }
        let talk = Conversation::open(setup, kind);
        let chains: [&[(u8, Vec<u8>)]; 6] = [
            &[(HOP_BY_HOP, padding(8))],
            &[(DESTINATION, padding(24))],
            &[(HOP_BY_HOP, padding(16)), (DESTINATION, padding(8))],
            // A routing header whose route is behind it.
            &[(ROUTING, vec![0; 7]), (DESTINATION, padding(8))],
            // An atomic fragment, RFC 6946.
            &[(FRAGMENT, fragment(0, false))],
            &[
                (HOP_BY_HOP, padding(8)),
                (DESTINATION, padding(8)),
                (FRAGMENT, fragment(0, false)),
                (DESTINATION, padding(64)),
            ],
        ];
        for chain in chains {
            goes(setup, &talk, |packet| packet.with_ip(|ip| ip.extensions = chain.to_vec()));
        }
    });
}

#[test]
fn longer_chains_and_unfinished_routes_are_left_alone() {
    each_kind(|setup, kind| {
        if setup.form.family == Family::V4 {
            return;
        }
        let talk = Conversation::open(setup, kind);
        let five = vec![(DESTINATION, padding(8)); 5];
        passes(setup, &talk, |packet| packet.with_ip(|ip| ip.extensions.clone_from(&five)));
        // The address in the header is not where it goes in the end, which is what the checksum is about.
        let mut segments_left = vec![0; 23];
        (segments_left[0], segments_left[1], segments_left[2]) = (2, 2, 1);
        passes(setup, &talk, |packet| {
            packet.with_ip(|ip| ip.extensions = vec![(ROUTING, segments_left.clone())])
        });
    });
}

#[test]
fn first_fragments_are_dropped_and_counted() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let mut dropped = 0;
        for step in steps(&talk, setup) {
            let packet = as_fragment(data(setup, &step), 0, true);
            let found = setup.kernel.run(step.hook, &packet.bytes());
            dropped += u64::from(found.verdict == Verdict::Drop);
            assert!(
                found.verdict == Verdict::Drop
                    || step.before.0.ip() == talk.backend.ip()
                    || step.before.1 == talk.backend
            );
        }
        assert_eq!(setup.tally()[&DROP_FRAGMENT], dropped);
        assert!(dropped >= 2);
    });
}

#[test]
fn later_fragments_are_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for more in [true, false] {
            passes(setup, &talk, |packet| as_fragment(packet, 3, more));
        }
    });
}

fn as_fragment(packet: Packet, offset: u16, more: bool) -> Packet {
    let is_v4 = packet.src.is_ipv4();
    packet.with_ip(|ip| {
        if is_v4 {
            (ip.may_fragment, ip.offset, ip.more) = (true, offset, more);
        } else {
            ip.extensions = vec![(FRAGMENT, fragment(offset, more))];
        }
    })
}

#[test]
fn tags_inside_the_frame_are_passed_over() {
    each_kind(|setup, kind| {
        if setup.form.bare {
            return;
        }
        let talk = Conversation::open(setup, kind);
        for tags in [&[TAG][..], &[OUTER_TAG], &[OUTER_TAG, TAG], &[TAG, TAG]] {
            goes(setup, &talk, |packet| packet.tagged(tags));
        }
        passes(setup, &talk, |packet| packet.tagged(&[OUTER_TAG, TAG, TAG]));
    });
}

#[test]
fn other_protocols_are_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for protocol in (0..=255_u8).filter(|p| *p != TCP) {
            // To IPv6 some of these are extension headers.
            passes(setup, &talk, |mut packet| {
                let bytes = packet.bytes()[packet.l4()..].to_vec();
                packet.body = Body::Raw { protocol, bytes };
                packet
            });
        }
    });
}

#[test]
fn a_syn_that_is_not_alone_is_no_syn() {
    each(|setup| {
        let hook = Conversation::begin(setup, Kind::Forwarded).toward(setup)[0].hook;
        let other = SocketAddr::new(setup.form.family.outside(9), 40_123);
        let vip = setup.form.family.vip();
        let packet = setup.tcp(hook, other, vip, SYN | ACK);
        assert_eq!(setup.kernel.run(hook, &packet.bytes()).bytes, packet.refused().bytes());
        assert_eq!(setup.known(other), None);
    });
}
