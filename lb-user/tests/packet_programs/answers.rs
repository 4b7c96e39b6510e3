//! Answers to the node's own processes: received by the loopback interface, or where they come in.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::packet::Way;
use lb_user::dataplane::services::encode;

use super::{
    conversation::{Conversation, Kind},
    kernel::{Interface, Verdict},
    packet::{ACK, Packet},
    setup::{Setup, each},
};

fn in_place(setup: &mut Setup) {
    setup.lead(Way { in_place: 1, ..setup.way });
}

fn answer(setup: &Setup, talk: &Conversation, interface: Interface) -> (Packet, Packet) {
    let packet = setup.tcp(setup.comes_in(interface), talk.backend, talk.source, ACK).data(&[7; 700]);
    let wanted = packet.between(talk.vip, talk.client);
    (packet, wanted)
}

#[test]
fn they_are_received_where_they_come_in_if_the_kernel_takes_them_there() {
    each(|setup| {
        in_place(setup);
        let talk = Conversation::open(setup, Kind::Host);
        let (packet, wanted) = answer(setup, &talk, Interface::Uplink);
        let hook = setup.comes_in(Interface::Uplink);
        setup.becomes(hook, &packet, Verdict::Next, &wanted);
        setup.lead(Way { in_place: 0, ..setup.way });
        setup.becomes(hook, &packet, Verdict::Redirect, &wanted.on_loopback());
    });
}

#[test]
fn they_are_received_by_the_loopback_interface_if_they_come_by_another_way_than_asked_about() {
    each(|setup| {
        in_place(setup);
        let talk = Conversation::open(setup, Kind::Host);
        let (packet, wanted) = answer(setup, &talk, Interface::Facing);
        let hook = setup.comes_in(Interface::Facing);
        setup.becomes(hook, &packet, Verdict::Redirect, &wanted.on_loopback());
        // The record is another backend's by now, which is reached from another address.
        let (packet, wanted) = answer(setup, &talk, Interface::Uplink);
        let hook = setup.comes_in(Interface::Uplink);
        for other in [IpAddr::from([198, 51, 100, 9]), Ipv6Addr::LOCALHOST.into()] {
            let way = setup.way;
            setup.lead(Way { source: encode::endpoint((other, 0).into()).address(), ..way });
            setup.becomes(hook, &packet, Verdict::Redirect, &wanted.on_loopback());
            setup.lead(way);
        }
        setup.becomes(hook, &packet, Verdict::Next, &wanted);
    });
}
