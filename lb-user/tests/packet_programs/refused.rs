//! What is answered with a RST instead of going to a backend.

use std::net::SocketAddr;

use lb_common::packet::{DROP_NO_BACKEND, DROP_NO_WAY, DROP_SCOPE, DROP_UNKNOWN, Way};

use super::{
    conversation::{Conversation, Kind},
    kernel::{Hook, Interface, Verdict},
    packet::{ACK, FIN, PSH, Packet, RST, SYN, TAG},
    setup::{Setup, each},
};

/// Where a client's packets for the VIP are seen, and from where they come.
fn places(setup: &Setup) -> [(Hook, SocketAddr); 2] {
    let family = setup.form.family;
    [
        (setup.comes_in(Interface::Facing), family.client()),
        (setup.goes_out(Interface::Loopback), SocketAddr::new(family.node(), 40_123)),
    ]
}

#[track_caller]
fn refuses(setup: &mut Setup, hook: Hook, packet: &Packet, reason: u32) {
    let before = setup.tally().get(&reason).copied().unwrap_or_default();
    setup.becomes(hook, packet, Verdict::Redirect, &packet.refused());
    assert_eq!(setup.tally()[&reason], before + 1);
    assert_eq!(setup.counted(), [0; 4]);
}

#[test]
fn a_syn_that_nobody_serves_is_refused() {
    each(|setup| {
        setup.serve(0);
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            for flags in [SYN, SYN | PSH] {
                let syn = setup.tcp(hook, client, vip, flags);
                refuses(setup, hook, &syn, DROP_NO_BACKEND);
                // With options, and with data (RFC 7413).
                let options = vec![2, 4, 5, 0xb4, 1, 3, 3, 7];
                refuses(setup, hook, &syn.clone().with(|segment| segment.options = options), DROP_NO_BACKEND);
                refuses(setup, hook, &syn.clone().data(&[5; 33]), DROP_NO_BACKEND);
                if !hook.bare {
                    refuses(setup, hook, &syn.tagged(&[TAG]), DROP_NO_BACKEND);
                }
            }
        }
    });
}

#[test]
fn what_belongs_to_no_connection_is_refused() {
    each(|setup| {
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            for flags in [ACK, ACK | PSH, FIN | ACK, SYN | ACK, FIN, 0, PSH, SYN | FIN | ACK] {
                let packet = setup.tcp(hook, client, vip, flags);
                refuses(setup, hook, &packet, DROP_UNKNOWN);
                refuses(setup, hook, &packet.data(&[1; 17]), DROP_UNKNOWN);
            }
        }
    });
}

#[test]
fn a_sequence_number_wraps() {
    each(|setup| {
        setup.serve(0);
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            for sequence in [u32::MAX, u32::MAX - 1, 0, 1 << 31] {
                let syn = setup.tcp(hook, client, vip, SYN).with(|segment| segment.sequence = sequence);
                refuses(setup, hook, &syn, DROP_NO_BACKEND);
            }
        }
    });
}

#[test]
fn a_reset_is_never_answered() {
    each(|setup| {
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            for flags in [RST, RST | ACK, RST | SYN, RST | FIN] {
                setup.serve(if flags & SYN == 0 { 3 } else { 0 });
                let packet = setup.tcp(hook, client, vip, flags);
                setup.drops(hook, &packet);
            }
        }
        assert_eq!(setup.tally(), [(DROP_UNKNOWN, 6), (DROP_NO_BACKEND, 2)].into());
    });
}

#[test]
fn what_stands_for_several_segments_is_dropped() {
    each(|setup| {
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            let packet = setup.tcp(hook, client, vip, ACK).data(&[1; 2800]);
            assert_eq!(setup.run_segmented(hook, &packet).verdict, Verdict::Drop);
        }
        assert_eq!(setup.tally(), [(DROP_UNKNOWN, 2)].into());
    });
}

#[test]
fn without_a_way_a_syn_is_refused() {
    each(|setup| {
        setup.lead(Way::default());
        let vip = setup.form.family.vip();
        for (hook, client) in places(setup) {
            let syn = setup.tcp(hook, client, vip, SYN);
            refuses(setup, hook, &syn, DROP_NO_WAY);
        }
    });
}

#[test]
fn without_a_way_any_more_a_connection_of_the_nodes_is_dropped() {
    each(|setup| {
        let talk = Conversation::open(setup, Kind::Host);
        setup.lead(Way::default());
        let step = &talk.toward(setup)[0];
        let packet = setup.tcp(step.hook, step.before.0, step.before.1, ACK);
        setup.drops(step.hook, &packet);
        assert_eq!(setup.tally()[&DROP_NO_WAY], 1);
    });
}

#[test]
fn others_are_refused_where_the_scope_is_the_host() {
    each(|setup| {
        setup.tell(|rules| rules.forwards = 0);
        let [(facing, client), (loopback, own)] = places(setup);
        let vip = setup.form.family.vip();
        let syn = setup.tcp(facing, client, vip, SYN);
        refuses(setup, facing, &syn, DROP_SCOPE);
        // And one that was routed to the loopback interface.
        let routed = Hook { forwarded: true, ..loopback };
        let syn = setup.tcp(routed, client, vip, SYN);
        refuses(setup, routed, &syn, DROP_SCOPE);
        setup.tell(|rules| rules.forwards = 1);
        refuses(setup, routed, &syn, DROP_SCOPE);
        setup.tell(|rules| rules.forwards = 0);
        Conversation::begin_from(setup, Kind::Host, own);
    });
}
