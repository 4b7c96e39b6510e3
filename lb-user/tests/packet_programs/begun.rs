//! Connections that are made, used and ended.

use std::collections::BTreeMap;

use lb_common::packet::{
    DROP_GIVEN_UP, FLOW_ANSWERED, FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_COUNTED, FLOW_HOST, FLOW_RESET,
    TALLY_BEGUN, TALLY_ENDED, TALLY_OPENED, TALLY_RESCUED,
};

use super::{
    conversation::{Conversation, Kind},
    kernel::Interface,
    packet::{ACK, FIN, PSH, Packet, RST, SYN},
    setup::{FIRST_PORT, Table, each, each_kind},
};

fn tally<const N: usize>(counted: [(u32, u64); N]) -> BTreeMap<u32, u64> {
    counted.into()
}

#[test]
fn a_syn_goes_to_a_backend_and_is_entered_once() {
    each_kind(|setup, kind| {
        let family = setup.form.family;
        let talk = Conversation::begin(setup, kind);
        let (table, _, flow) = setup.known(talk.client).unwrap();
        assert_eq!((table, setup.counted()), (Table::Opening, [1, 1, 0, 0]));
        assert_eq!(talk.backend, family.backend(1));
        assert!((FIRST_PORT..FIRST_PORT + 256).contains(&talk.source.port()));
        let source = if kind == Kind::HostLocal { family.vip().ip() } else { family.node() };
        assert_eq!(talk.source.ip(), source);
        let is_host = kind != Kind::Forwarded;
        assert_eq!(flow.state, if is_host { FLOW_HOST } else { 0 });
        assert_eq!(flow.ifindex, if is_host { 0 } else { setup.kernel.index(Interface::Facing) });
        assert_eq!((flow.index, flow.tries, flow.to_client), (0, 0, 0));
        assert_eq!(flow.to_backend, 0xfedc_ba99);
        assert!(flow.begun > 0 && flow.seen == flow.begun && flow.heard == 0);
        assert_eq!(setup.tally(), tally([(TALLY_BEGUN, 1)]));
        let record = setup.backend_record(0);
        assert_eq!((record.total, record.active, record.refused), (1, 0, 0));
    });
}

#[test]
fn an_agreed_connection_moves_to_the_table_that_no_syn_displaces() {
    each_kind(|setup, kind| {
        let talk = Conversation::begin(setup, kind);
        talk.answers(setup, SYN | ACK, |segment| segment.sequence = 500);
        let flow = talk.flow(setup);
        assert_eq!(flow.state & !FLOW_HOST, FLOW_ANSWERED);
        assert_eq!(flow.to_client, 501);
        assert!(flow.heard > flow.begun);
        assert_eq!(setup.counted(), [1, 1, 0, 0]);
        talk.sends(setup, ACK, |_| {});
        assert_eq!(talk.flow(setup).heard, flow.heard, "what the client sends is not heard from the backend");
        assert_eq!(setup.counted(), [0, 0, 1, 1]);
        assert_eq!(talk.flow(setup).state & !FLOW_HOST, FLOW_ANSWERED | FLOW_COUNTED);
        assert_eq!(setup.tally(), tally([(TALLY_BEGUN, 1), (TALLY_OPENED, 1)]));
        assert_eq!(setup.backend_record(0).active, 1);
    });
}

#[test]
fn data_goes_both_ways_and_is_followed() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for length in [1, 2, 3, 536, 1448] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            talk.sends(setup, ACK | PSH, |segment| {
                (segment.sequence, segment.payload) = (0xfedc_ba99, payload.clone());
            });
            assert_eq!(talk.flow(setup).to_backend, 0xfedc_ba99_u32.wrapping_add(length));
            talk.answers(setup, ACK, |segment| {
                (segment.sequence, segment.payload) = (0xfedc_ba99, payload.clone());
            });
            assert_eq!(talk.flow(setup).to_client, 0xfedc_ba99_u32.wrapping_add(length));
        }
        // What is sent again does not count.
        talk.answers(setup, ACK, |segment| segment.sequence = 0xfedc_ba99);
        assert_eq!(talk.flow(setup).to_client, 0xfedc_ba99_u32.wrapping_add(1448));
    });
}

#[test]
fn options_of_tcp_stay() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];
        for length in (4..=options.len()).step_by(4) {
            talk.sends(setup, ACK, |segment| segment.options = options[..length].to_vec());
            talk.answers(setup, ACK, |segment| segment.options = options[..length].to_vec());
        }
        talk.sends(setup, ACK, |segment| segment.options = vec![1; 40]);
    });
}

#[test]
fn without_masquerade_the_backend_sees_the_client() {
    each(|setup| {
        setup.tell(|rules| rules.masquerades = 0);
        let talk = Conversation::open(setup, Kind::Forwarded);
        assert_eq!(talk.source.ip(), talk.client.ip());
        talk.sends(setup, ACK, |segment| segment.payload = vec![7; 100]);
        talk.answers(setup, ACK, |segment| segment.payload = vec![7; 100]);
    });
}

#[test]
fn a_local_backend_sees_the_forwarded_client() {
    each(|setup| {
        setup.lead_home();
        let talk = Conversation::begin(setup, Kind::Forwarded);
        assert_eq!(talk.source.ip(), talk.client.ip());
        // It does not leave the node: there is one hook on each way.
        let back = &talk.back(setup)[1..];
        talk.goes(setup, back, |setup, step| setup.tcp(step.hook, step.before.0, step.before.1, SYN | ACK));
        assert_eq!(talk.flow(setup).state, FLOW_ANSWERED);
    });
}

#[test]
fn a_connection_is_over_when_both_sides_are() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        talk.sends(setup, FIN | ACK, |_| {});
        let agreed = FLOW_ANSWERED | (talk.flow(setup).state & FLOW_HOST);
        assert_eq!(talk.flow(setup).state, agreed | FLOW_COUNTED | FLOW_CLIENT_DONE);
        assert_eq!(setup.backend_record(0).active, 1);
        talk.answers(setup, FIN | ACK, |_| {});
        assert_eq!(talk.flow(setup).state, agreed | FLOW_CLIENT_DONE | FLOW_BACKEND_DONE);
        assert_eq!(setup.backend_record(0).active, 0);
        // The last acknowledgement gets through.
        talk.sends(setup, ACK, |_| {});
        assert_eq!(setup.backend_record(0).active, 0);
        // The same port again is a new connection, in turn with another backend.
        let again = Conversation::begin_from(setup, kind, talk.client);
        assert_ne!(again.backend, talk.backend);
        assert_eq!(setup.counted(), [1, 1, 0, 0]);
        assert_eq!(setup.tally(), tally([(TALLY_BEGUN, 2), (TALLY_OPENED, 1), (TALLY_ENDED, 1)]));
    });
}

#[test]
fn a_reset_ends_it_whoever_sends_it() {
    each_kind(|setup, kind| {
        for is_client in [true, false] {
            setup.renew();
            let talk = Conversation::open(setup, kind);
            let done = if is_client {
                talk.sends(setup, RST, |_| {});
                FLOW_CLIENT_DONE
            } else {
                talk.answers(setup, RST | ACK, |_| {});
                0
            };
            assert_eq!(talk.flow(setup).state & !FLOW_HOST, FLOW_ANSWERED | FLOW_RESET | done);
            assert_eq!(setup.backend_record(0).active, 0);
        }
    });
}

#[test]
fn a_syn_that_is_sent_again_goes_to_another_backend() {
    each_kind(|setup, kind| {
        let mut talk = Conversation::begin(setup, kind);
        for tries in 1..=3 {
            let next = Conversation::begin_from(setup, kind, talk.client);
            assert_ne!(next.backend, talk.backend);
            assert_eq!(setup.counted(), [1, 1, 0, 0]);
            assert_eq!(next.flow(setup).tries, tries);
            talk = next;
        }
        assert_eq!(setup.tally(), tally([(TALLY_BEGUN, 4), (TALLY_RESCUED, 3), (TALLY_ENDED, 3)]));
        // Enough is enough.
        talk.sends(setup, SYN, |_| {});
        assert_eq!(talk.flow(setup).tries, 3);
    });
}

#[test]
fn a_syn_that_is_sent_again_stays_without_rescue_or_another_backend() {
    each_kind(|setup, kind| {
        for alone in [true, false] {
            setup.renew();
            if alone {
                setup.serve(1);
            } else {
                setup.tell(|rules| rules.rescues = 0);
            }
            let talk = Conversation::begin(setup, kind);
            talk.sends(setup, SYN, |_| {});
            assert_eq!(setup.counted(), [1, 1, 0, 0]);
            assert_eq!(talk.flow(setup).tries, 0);
            // And one whose answer was lost, with rescue too.
            talk.answers(setup, SYN | ACK, |_| {});
            setup.tell(|rules| rules.rescues = 1);
            talk.sends(setup, SYN, |_| {});
            setup.tell(|rules| rules.rescues = 0);
        }
    });
}

#[test]
fn a_refusal_is_kept_from_the_client_who_asks_again() {
    each_kind(|setup, kind| {
        let talk = Conversation::begin(setup, kind);
        let steps = talk.back(setup);
        let last = steps.last().unwrap();
        let refusal = setup.tcp(last.hook, last.before.0, last.before.1, RST | ACK);
        setup.drops(last.hook, &refusal);
        assert_eq!(setup.tally(), tally([(TALLY_BEGUN, 1), (DROP_GIVEN_UP, 1)]));
        assert_eq!(setup.backend_record(0).refused, 1);
        let next = Conversation::begin_from(setup, kind, talk.client);
        assert_ne!(next.backend, talk.backend);
        // Of the one that was given up nothing is known any more.
        let first = &steps[0];
        let late = setup.tcp(first.hook, first.before.0, first.before.1, SYN | ACK);
        setup.leaves_alone(first.hook, &late);
    });
}

#[test]
fn a_refusal_is_passed_on_without_rescue() {
    each_kind(|setup, kind| {
        setup.tell(|rules| rules.rescues = 0);
        let talk = Conversation::begin(setup, kind);
        talk.answers(setup, RST | ACK, |_| {});
        assert_eq!(setup.backend_record(0).refused, 1);
        assert_eq!(talk.flow(setup).state & !FLOW_HOST, FLOW_ANSWERED | FLOW_RESET);
        let next = Conversation::begin_from(setup, kind, talk.client);
        assert_ne!(next.backend, talk.backend);
    });
}

#[test]
fn without_new_connections_the_old_ones_go_on() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        setup.tell(|rules| rules.takes = 0);
        talk.sends(setup, ACK, |_| {});
        talk.answers(setup, ACK, |_| {});
        let first = &talk.toward(setup)[0];
        let other = std::net::SocketAddr::new(talk.client.ip(), 40_124);
        for flags in [SYN, ACK, RST, FIN | ACK] {
            let packet = setup.tcp(first.hook, other, talk.vip, flags);
            setup.leaves_alone(first.hook, &packet);
        }
        assert_eq!(setup.known(other), None);
    });
}

#[test]
fn several_segments_at_once_are_rewritten_as_one() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for step in talk.toward(setup).iter().chain(&talk.back(setup)) {
            let packet: Packet = setup.tcp(step.hook, step.before.0, step.before.1, ACK).data(&vec![3; 2800]);
            let mut wanted = packet.between(step.after.0, step.after.1);
            if step.is_turned {
                wanted = wanted.on_loopback();
            }
            let found = setup.run_segmented(step.hook, &packet);
            assert_eq!((found.verdict, found.bytes), (step.verdict, wanted.bytes()));
        }
    });
}
