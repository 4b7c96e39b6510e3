//! Where a backend knows the only port there is as another connection's.

use std::net::SocketAddr;

use lb_common::packet::{DROP_FULL, Flow, NodeKey, TALLY_BEGUN, TALLY_ENDED, TALLY_OPENED};

use super::{
    conversation::{Conversation, Kind},
    kernel::{Hook, Interface},
    packet::{ACK, FIN, Packet, RST, SYN},
    setup::{Setup, Table, each, each_kind},
};

/// Longer than any test runs, in ns.
const AN_HOUR: u64 = 3_600_000_000_000;

/// One backend, and one port towards it.
fn with_one_port(test: impl Fn(&mut Setup) + Sync) {
    each(|setup| {
        setup.serve(1);
        setup.tell(|rules| rules.ports = 1);
        test(setup);
        setup.tell(|rules| rules.ports = 256);
    });
}

/// What somebody else asks, and where it comes in.
fn another_syn(setup: &Setup) -> (SocketAddr, Hook, Packet) {
    let family = setup.form.family;
    let hook = setup.comes_in(Interface::Facing);
    let other = SocketAddr::new(family.outside(8), 40_123);
    (other, hook, setup.tcp(hook, other, family.vip(), SYN))
}

/// Makes it older or younger.
fn begun(setup: &mut Setup, talk: &Conversation, when: impl FnOnce(u64) -> u64) {
    let (_, node, mut flow) = setup.known(talk.client).unwrap();
    flow.begun = when(flow.begun);
    setup.kernel.hash::<NodeKey, Flow>("OPENING_FLOWS").insert(node, flow, 0).unwrap();
}

/// Another client's SYN gets the port, and nothing is left of who had it.
fn is_taken_over(setup: &mut Setup, talk: &Conversation) {
    let (other, hook, syn) = another_syn(setup);
    setup.kernel.run(hook, &syn.bytes());
    assert_eq!(setup.known(talk.client), None);
    let (table, node, _) = setup.known(other).expect("it is in the table");
    assert_eq!((table, u16::from_be(node.port as u16)), (Table::Opening, talk.source.port()));
    assert_eq!(setup.counted(), [1, 1, 0, 0]);
}

/// Another client's SYN is dropped.
fn is_kept(setup: &mut Setup, talk: &Conversation) {
    let known = setup.known(talk.client);
    let (other, hook, syn) = another_syn(setup);
    setup.drops(hook, &syn);
    assert_eq!(setup.tally()[&DROP_FULL], 1);
    assert_eq!((setup.known(talk.client), setup.known(other)), (known, None));
}

#[test]
fn the_port_of_an_open_connection_is_kept() {
    with_one_port(|setup| {
        let talk = Conversation::open(setup, Kind::Forwarded);
        is_kept(setup, &talk);
        // Towards another backend it is free.
        let (other, hook, syn) = another_syn(setup);
        setup.serve(2);
        setup.kernel.run(hook, &syn.bytes());
        setup.kernel.run(hook, &syn.bytes());
        assert_eq!(setup.known(other).unwrap().2.index, 1);
    });
}

#[test]
fn the_port_of_a_connection_in_its_handshake_is_kept() {
    with_one_port(|setup| {
        let talk = Conversation::begin(setup, Kind::Forwarded);
        begun(setup, &talk, |now| now + AN_HOUR);
        is_kept(setup, &talk);
    });
}

#[test]
fn the_port_of_a_connection_that_has_been_half_open_for_long_is_taken_over() {
    for is_answered in [false, true] {
        with_one_port(|setup| {
            let talk = Conversation::begin(setup, Kind::Forwarded);
            if is_answered {
                talk.answers(setup, SYN | ACK, |_| {});
            }
            begun(setup, &talk, |_| 0);
            is_taken_over(setup, &talk);
            // It was displaced, and has not ended.
            assert_eq!(setup.tally(), [(TALLY_BEGUN, 2)].into());
        });
    }
}

#[test]
fn the_port_of_a_connection_that_is_over_is_taken_over() {
    with_one_port(|setup| {
        let talk = Conversation::open(setup, Kind::Forwarded);
        talk.sends(setup, FIN | ACK, |_| {});
        talk.answers(setup, FIN | ACK, |_| {});
        is_taken_over(setup, &talk);
        assert_eq!(setup.tally(), [(TALLY_BEGUN, 2), (TALLY_OPENED, 1), (TALLY_ENDED, 1)].into());
        assert_eq!(setup.backend_record(0).active, 0);
    });
    // So is one that its client broke off before it was open, however young.
    with_one_port(|setup| {
        let talk = Conversation::begin(setup, Kind::Forwarded);
        begun(setup, &talk, |now| now + AN_HOUR);
        talk.sends(setup, RST, |_| {});
        is_taken_over(setup, &talk);
        assert_eq!(setup.tally(), [(TALLY_BEGUN, 2), (TALLY_ENDED, 1)].into());
    });
}

#[test]
fn a_client_that_resets_what_the_backend_knew_by_a_port_gets_that_port_again() {
    each_kind(|setup, kind| {
        let talk = Conversation::begin(setup, kind);
        let (_, node, begun) = setup.known(talk.client).unwrap();
        talk.answers(setup, ACK, |_| {});
        talk.sends(setup, RST, |_| {});
        talk.sends(setup, SYN, |_| {});
        let (table, again, flow) = setup.known(talk.client).unwrap();
        assert_eq!((table, again, flow.state), (Table::Opening, node, begun.state));
        assert_eq!(setup.tally(), [(TALLY_BEGUN, 1)].into());
        // It is not taken for answered: were this backend silent now, the next SYN would go to another.
        let next = Conversation::begin_from(setup, kind, talk.client);
        assert_ne!(next.backend, talk.backend);
    });
}
