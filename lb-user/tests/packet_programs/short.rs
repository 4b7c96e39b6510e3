//! Packets that end too early or too late, and headers that lie about their length.

use lb_common::packet::DROP_MALFORMED;

use super::{
    conversation::{Conversation, Kind},
    family::Family,
    headers::{data, fragment, padding, steps},
    kernel::{Outcome, Verdict},
    packet::{ACK, DESTINATION, FRAGMENT, HOP_BY_HOP},
    setup::{each, each_kind, same},
};

#[test]
fn what_is_cut_short_is_rewritten_whole_or_not_at_all() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for step in steps(&talk, setup) {
            let options = vec![1; 12];
            let packet = data(setup, &step).with(|segment| segment.options = options);
            let mut wanted = packet.between(step.after.0, step.after.1);
            if step.is_turned {
                wanted = wanted.on_loopback();
            }
            // What the program adds in front.
            let added = wanted.bytes().len() - packet.bytes().len();
            // The kernel takes nothing shorter than a link header, and from Linux 6.17 on than a network header.
            for length in 14..packet.bytes().len() {
                let given = &packet.bytes()[..length];
                let Ok((found, _)) = setup.kernel.run_as(step.hook, given, Default::default()) else {
                    continue;
                };
                let is_whole = length >= packet.l4() + 20;
                let wanted = if is_whole {
                    Outcome { verdict: step.verdict, bytes: wanted.bytes()[..length + added].to_vec() }
                } else {
                    Outcome { verdict: Verdict::Next, bytes: given.to_vec() }
                };
                same(&found, &wanted, given);
            }
        }
    });
}

#[test]
fn extension_headers_that_are_cut_short_are_left_alone() {
    each(|setup| {
        if setup.form.family == Family::V4 {
            return;
        }
        let talk = Conversation::open(setup, Kind::Forwarded);
        let chain =
            vec![(HOP_BY_HOP, padding(16)), (DESTINATION, padding(8)), (FRAGMENT, fragment(0, false))];
        for step in steps(&talk, setup) {
            let packet = data(setup, &step).with_ip(|ip| ip.extensions.clone_from(&chain));
            for length in 14..packet.l4() + 20 {
                let given = &packet.bytes()[..length];
                let Ok((found, _)) = setup.kernel.run_as(step.hook, given, Default::default()) else {
                    continue;
                };
                same(&found, &Outcome { verdict: Verdict::Next, bytes: given.to_vec() }, given);
            }
        }
    });
}

#[test]
fn a_header_of_impossible_length_is_dropped() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let first = &talk.toward(setup)[0];
        let packet = data(setup, first);
        for offset in [0_u8, 1, 4, 15] {
            let mut bytes = packet.bytes();
            bytes[packet.l4() + 12] = offset << 4;
            assert_eq!(setup.kernel.run(first.hook, &bytes).verdict, Verdict::Drop, "{offset}");
        }
        assert_eq!(setup.tally()[&DROP_MALFORMED], 4);
    });
}

#[test]
fn a_network_header_of_impossible_length_or_version_is_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for step in steps(&talk, setup) {
            let packet = data(setup, &step);
            let bytes = packet.bytes();
            let first = bytes[packet.l3()];
            let wrong: &[u8] = match setup.form.family {
                // Versions, and lengths of the header.
                Family::V4 => &[0x05, 0x55, 0x65, 0xf5, 0x40, 0x41, 0x43],
                Family::V6 => &[0x01, 0x41, 0x51, 0x71, 0xf1],
            };
            for byte in wrong {
                assert_ne!(*byte, first);
                let mut bytes = bytes.clone();
                bytes[packet.l3()] = *byte;
                let found = setup.kernel.run(step.hook, &bytes);
                same(&found, &Outcome { verdict: Verdict::Next, bytes: bytes.clone() }, &bytes);
            }
        }
    });
}

#[test]
fn bytes_behind_the_packet_stay() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for step in steps(&talk, setup) {
            let packet = setup.tcp(step.hook, step.before.0, step.before.1, ACK);
            let mut wanted = packet.between(step.after.0, step.after.1);
            if step.is_turned {
                wanted = wanted.on_loopback();
            }
            // As Ethernet fills up its shortest frame.
            let trailer = [0xee; 9];
            let given = [packet.bytes(), trailer.to_vec()].concat();
            let wanted =
                Outcome { verdict: step.verdict, bytes: [wanted.bytes(), trailer.to_vec()].concat() };
            same(&setup.kernel.run(step.hook, &given), &wanted, &given);
        }
        // They are no payload.
        assert_eq!(talk.flow(setup).to_client, 0xfedc_ba99);
    });
}
