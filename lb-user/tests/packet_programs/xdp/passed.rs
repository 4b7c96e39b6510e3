//! What is TC's: each reason, and the packet as it was.

use std::net::SocketAddr;

use lb_common::packet::{
    FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, FLOW_HOST, FLOW_RESET, WIRE_RETURNS, WIRE_SENDS, Way,
};

use super::{
    super::{
        conversation::{Conversation, Kind},
        family::Family,
        kernel::{Interface, ip},
        packet::{ACK, DESTINATION, FIN, FRAGMENT, Packet, RST, SYN, TAG},
        setup::Table,
    },
    machine::{Action, BACKEND_MAC, Machine, each, forwards, neighbour_is},
};

fn request(machine: &Machine, talk: &Conversation) -> Packet {
    machine.tcp(Interface::Facing, (talk.client, talk.vip), ACK)
}

/// It is what follows that keeps it from being taken.
#[track_caller]
fn is_taken(machine: &mut Machine, talk: &Conversation) {
    let request = request(machine, talk);
    assert_eq!(machine.run(Interface::Facing, &request.bytes()).0, Action::Redirected);
}

#[test]
fn packets_that_are_not_the_plainest() {
    each(|machine, talk| {
        is_taken(machine, talk);
        let plain = request(machine, talk);
        let mut odd: Vec<(&str, Packet)> = [SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, FIN]
            .into_iter()
            .map(|flags| ("flags", plain.clone().with(|segment| segment.flags = flags)))
            .collect();
        odd.push(("a tag", plain.clone().tagged(&[TAG])));
        odd.push(("the last hop", plain.clone().with_ip(|ip| ip.hops = 1)));
        odd.push(("no hop left", plain.clone().with_ip(|ip| ip.hops = 0)));
        match machine.setup.form.family {
            Family::V4 => {
                odd.push(("options", plain.clone().with_ip(|ip| ip.options = vec![1; 4])));
                odd.push(("a first fragment", plain.clone().with_ip(|ip| ip.more = true)));
                odd.push(("a later fragment", plain.clone().with_ip(|ip| ip.offset = 3)));
            }
            Family::V6 => {
                let destination = (DESTINATION, vec![0, 1, 4, 0, 0, 0, 0]);
                odd.push(("extensions", plain.clone().with_ip(|ip| ip.extensions = vec![destination])));
                let fragment = (FRAGMENT, vec![0, 0, 1, 0, 0, 0, 1]);
                odd.push(("a fragment", plain.clone().with_ip(|ip| ip.extensions = vec![fragment])));
            }
        }
        for (what, packet) in odd {
            machine.passes(what, Interface::Facing, &packet.bytes());
        }
        // One byte of the header: whom the frame is for.
        for at in 0..6 {
            let mut bytes = plain.bytes();
            bytes[at] ^= 1;
            machine.passes("a frame for another", Interface::Facing, &bytes);
        }
        let mut broadcast = plain.bytes();
        broadcast[..6].fill(0xff);
        machine.passes("a broadcast", Interface::Facing, &broadcast);
        is_taken(machine, talk);
    });
}

#[test]
fn packets_whose_lengths_make_no_sense() {
    each(|machine, talk| {
        let plain = request(machine, talk).data(&[1; 39]);
        let (bytes, tcp) = (plain.bytes(), plain.l4());
        for length in 14..bytes.len() {
            machine.passes("cut short", Interface::Facing, &bytes[..length]);
        }
        // What a card adds to a short frame is none of it.
        let padded = [&bytes[..], &[0; 6]].concat();
        assert_eq!(machine.run(Interface::Facing, &padded).0, Action::Redirected);
        for header in [0, 1, 4, 16, 15] {
            let mut bytes = bytes.clone();
            bytes[tcp + 12] = header << 4;
            machine.passes("a TCP header of a wrong length", Interface::Facing, &bytes);
        }
        let length = if talk.vip.is_ipv4() { 16..18 } else { 18..20 };
        let least = if talk.vip.is_ipv4() { 40 } else { 20 };
        for wrong in [0_u16, 1, least - 1, 0xffff] {
            let mut bytes = bytes.clone();
            bytes[length.clone()].copy_from_slice(&wrong.to_be_bytes());
            machine.passes("a wrong length", Interface::Facing, &bytes);
        }
    });
}

/// The sum of the pseudo header, as a sender leaves it that has the network card do the rest.
fn pseudo_header(packet: &Packet) -> u16 {
    let length = (packet.bytes().len() - packet.l4()) as u16;
    let octets = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let bytes = [octets(packet.src), octets(packet.dst), vec![0, 6], length.to_be_bytes().to_vec()].concat();
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn packets_whose_checksum_nobody_has_computed() {
    each(|machine, talk| {
        for length in [0, 1, 700] {
            for (wire, ends) in [
                (Interface::Facing, (talk.client, talk.vip)),
                (Interface::Uplink, (talk.backend, talk.source)),
            ] {
                let packet = machine.tcp(wire, ends, ACK).data(&vec![9; length]);
                let sum = pseudo_header(&packet);
                machine.passes("CHECKSUM_PARTIAL", wire, &packet.with(|s| s.checksum = Some(sum)).bytes());
            }
        }
        is_taken(machine, talk);
    });
}

#[test]
fn connections_that_the_kernel_has_to_see() {
    each(|machine, talk| {
        let plain = request(machine, talk).bytes();
        for state in [FLOW_CLIENT_DONE, FLOW_BACKEND_DONE, FLOW_RESET, FLOW_HOST] {
            machine.flow(|flow| flow.state |= state);
            machine.passes("its state", Interface::Facing, &plain);
            let answer = machine.tcp(Interface::Uplink, (talk.backend, talk.source), ACK);
            machine.passes("its state", Interface::Uplink, &answer.bytes());
            machine.flow(|flow| flow.state &= !state);
        }
        is_taken(machine, talk);
        let data = request(machine, talk).data(&[0; 10]).bytes();
        machine.flow(|flow| flow.seen -= 1_500_000_000);
        machine.passes("a second, without data", Interface::Facing, &plain);
        assert_eq!(machine.run(Interface::Facing, &data).0, Action::Redirected);
        machine.flow(|flow| flow.seen -= 1_000_000_000);
        machine.passes("two seconds, with data", Interface::Facing, &data);
    });
}

#[test]
fn packets_of_no_connection_that_is_open() {
    each(|machine, talk| {
        let other = SocketAddr::new(talk.client.ip(), talk.client.port() + 1);
        let of_other = machine.tcp(Interface::Facing, (other, talk.vip), ACK).bytes();
        machine.passes("unknown", Interface::Facing, &of_other);
        let foreign = machine.tcp(Interface::Facing, (talk.client, talk.backend), ACK).bytes();
        machine.passes("foreign", Interface::Facing, &foreign);
        let alike = machine.tcp(
            Interface::Uplink,
            (talk.backend, (talk.client.ip(), talk.source.port()).into()),
            ACK,
        );
        machine.passes("a port like ours", Interface::Uplink, &alike.bytes());
        machine.setup.kernel.run(
            machine.setup.comes_in(Interface::Facing),
            &machine.tcp(Interface::Facing, (other, talk.vip), SYN).bytes(),
        );
        assert_eq!(machine.setup.known(other).unwrap().0, Table::Opening);
        machine.passes("being made", Interface::Facing, &of_other);
        let plain = request(machine, talk).bytes();
        machine.setup.withdraw();
        machine.passes("a VIP that is gone", Interface::Facing, &plain);
    });
}

#[test]
fn ways_that_are_not_from_wire_to_wire() {
    each(|machine, talk| {
        let plain = request(machine, talk).bytes();
        let answer = machine.tcp(Interface::Uplink, (talk.backend, talk.source), ACK).bytes();
        let by_other = machine.tcp(Interface::Uplink, (talk.client, talk.vip), ACK).bytes();
        machine.passes("another way than its SYN", Interface::Uplink, &by_other);
        let by_other = machine.tcp(Interface::Facing, (talk.backend, talk.source), ACK).bytes();
        machine.passes("another way than to its backend", Interface::Facing, &by_other);
        machine.wire(Interface::Uplink, WIRE_RETURNS);
        machine.passes("to a wire that does not send", Interface::Facing, &plain);
        machine.wire(Interface::Uplink, WIRE_SENDS | WIRE_RETURNS);
        is_taken(machine, talk);
        let way = machine.setup.way;
        machine.setup.lead(Way { ifindex: 1, local: 1, ..way });
        machine.passes("to the node itself", Interface::Facing, &plain);
        machine.setup.lead(Way { ifindex: 0, ..way });
        machine.passes("no way", Interface::Facing, &plain);
        machine.setup.lead(way);
        let uplink = u64::from(machine.setup.kernel.index(Interface::Uplink));
        machine.setup.kernel.hash::<u64, lb_common::packet::Wire>("WIRES").remove(&uplink).unwrap();
        machine.passes("to what is no wire", Interface::Facing, &plain);
        machine.passes("from what is no wire", Interface::Uplink, &answer);
        machine.wire(Interface::Uplink, WIRE_SENDS);
        is_taken(machine, talk);
    });
}

#[test]
fn what_the_routing_tables_leave_to_the_stack() {
    each(|machine, talk| {
        let plain = request(machine, talk).bytes();
        let long = request(machine, talk).data(&[3; 1500]).bytes();
        machine.passes("too long for the way", Interface::Facing, &long);
        let (net, backend) = match machine.setup.form.family {
            Family::V4 => ("8.0.2.0/24", "8.0.2.1"),
            Family::V6 => ("2001:db8:86dd:2::/64", "2001:db8:86dd:2::1"),
        };
        ip(&format!("neigh del {backend} dev uplink"));
        machine.passes("no neighbour", Interface::Facing, &plain);
        neighbour_is(backend, BACKEND_MAC, "uplink");
        ip(&format!("route replace {net} dev uplink mtu lock 1280"));
        let longer = request(machine, talk).data(&[3; 1300]).bytes();
        machine.passes("too long for the route", Interface::Facing, &longer);
        ip(&format!("route del {net}"));
        machine.passes("no route", Interface::Facing, &plain);
        ip(&format!("route add unreachable {net}"));
        machine.passes("unreachable", Interface::Facing, &plain);
        ip(&format!("route del unreachable {net}"));
        ip(&format!("route add {net} dev uplink"));
        neighbour_is(backend, BACKEND_MAC, "uplink");
        forwards(false);
        machine.passes("a node that does not forward", Interface::Facing, &plain);
        forwards(true);
        is_taken(machine, talk);
    });
}

#[test]
fn other_connections_than_forwarded_ones() {
    each(|machine, _| {
        for kind in [Kind::Host, Kind::HostLocal] {
            let way = machine.setup.way;
            machine.renew();
            let talk = Conversation::open(&mut machine.setup, kind);
            let answer = machine.tcp(Interface::Uplink, (talk.backend, talk.source), ACK);
            machine.passes("the node's own", Interface::Uplink, &answer.bytes());
            machine.setup.lead(way);
        }
    });
}
