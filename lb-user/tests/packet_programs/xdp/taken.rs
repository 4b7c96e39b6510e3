//! What becomes of packets that are taken.

use std::net::SocketAddr;

use lb_common::packet::{ClientKey, NodeKey, WIRE_RETURNS, WIRE_SENDS, Way};
use lb_user::dataplane::services::encode;

use super::{
    super::{
        conversation::{Conversation, Kind},
        family::Family,
        kernel::{Interface, ip},
        packet::{ACK, PSH, Packet},
    },
    machine::{Action, BACKEND_MAC, CLIENT_MAC, Machine, each, neighbour_is, one_hop_on},
};

/// Payloads of every length up to this, odd ones among them.
const LENGTHS: [usize; 6] = [0, 1, 2, 37, 512, 1400];

fn goes_there_and_back(machine: &mut Machine, talk: &Conversation) {
    for length in LENGTHS {
        for options in [0, 4, 12, 40] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7 + 3) as u8).collect();
            let made = |machine: &Machine, wire, ends| {
                let packet = machine.tcp(wire, ends, ACK | PSH).data(&payload);
                packet.with(|segment| segment.options = vec![1; options])
            };
            let request = made(machine, Interface::Facing, (talk.client, talk.vip));
            let wanted = one_hop_on(&request, (talk.source, talk.backend), Interface::Uplink, BACKEND_MAC);
            machine.becomes(Interface::Facing, &request, Action::Redirected, &wanted);
            let answer = made(machine, Interface::Uplink, (talk.backend, talk.source));
            let wanted = one_hop_on(&answer, (talk.vip, talk.client), Interface::Facing, CLIENT_MAC);
            machine.becomes(Interface::Uplink, &answer, Action::Redirected, &wanted);
        }
    }
}

#[test]
fn a_connections_packets_go_there_and_back() {
    each(|machine, talk| {
        let before = machine.taken();
        goes_there_and_back(machine, talk);
        assert_eq!(machine.taken() - before, 2 * 4 * LENGTHS.len() as u64);
    });
}

#[test]
fn without_masquerade_the_backend_sees_the_client() {
    each(|machine, _| {
        machine.renew();
        machine.rules(|rules| rules.masquerades = 0);
        let talk = Conversation::open(&mut machine.setup, Kind::Forwarded);
        assert_eq!(talk.source.ip(), talk.client.ip());
        goes_there_and_back(machine, &talk);
        machine.rules(|rules| rules.masquerades = 1);
    });
}

#[test]
fn checksums_are_right_whatever_they_come_to() {
    each(|machine, talk| {
        // The acknowledged number runs through all sums, so that 0 and its neighbours are among them.
        for n in 0..=u16::MAX {
            let number = u32::from(n) << 16 | 0x1234;
            let ends = (talk.client, talk.vip);
            let request = machine.tcp(Interface::Facing, ends, ACK).with(|s| s.acknowledged = number);
            let wanted = one_hop_on(&request, (talk.source, talk.backend), Interface::Uplink, BACKEND_MAC);
            let (action, found) = machine.run(Interface::Facing, &request.bytes());
            // The one that looks as if nobody had computed it.
            if action == Action::Pass {
                assert_eq!(found, request.bytes());
                continue;
            }
            assert_eq!(found, wanted.bytes(), "{n}");
        }
    });
}

#[test]
fn what_is_expected_next_is_noted_for_both_sides() {
    each(|machine, talk| {
        let request = |sequence: u32, length: usize| {
            move |machine: &Machine| {
                let packet = machine.tcp(Interface::Facing, (talk.client, talk.vip), ACK);
                packet.data(&vec![0; length]).with(|segment| segment.sequence = sequence)
            }
        };
        let flow = talk.flow(&mut machine.setup);
        let next = flow.to_backend;
        for (sequence, length, expected) in [
            (next, 100, next.wrapping_add(100)),
            // Sent again, and one that was overtaken.
            (next, 100, next.wrapping_add(100)),
            (next.wrapping_sub(5), 10, next.wrapping_add(100)),
            (next.wrapping_add(100), 1, next.wrapping_add(101)),
        ] {
            let packet = request(sequence, length)(machine);
            let (action, _) = machine.run(Interface::Facing, &packet.bytes());
            let found = talk.flow(&mut machine.setup);
            assert_eq!((action, found.to_backend), (Action::Redirected, expected));
            assert_eq!((found.to_client, found.seen, found.state), (flow.to_client, flow.seen, flow.state));
        }
        let packet = machine.tcp(Interface::Uplink, (talk.backend, talk.source), ACK).data(&[0; 9]);
        let packet = packet.with(|segment| segment.sequence = flow.to_client);
        machine.run(Interface::Uplink, &packet.bytes());
        assert_eq!(talk.flow(&mut machine.setup).to_client, flow.to_client.wrapping_add(9));
    });
}

#[test]
fn on_a_single_wire_packets_are_sent_back() {
    each(|machine, _| {
        let family = machine.setup.form.family;
        let (net, neighbour) = match family {
            Family::V4 => ("8.0.2.0/24", "8.0.2.1"),
            Family::V6 => ("2001:db8:86dd:2::/64", "2001:db8:86dd:2::1"),
        };
        ip(&format!("route replace {net} dev facing"));
        neighbour_is(neighbour, BACKEND_MAC, "facing");
        machine.renew();
        let way = machine.setup.way;
        machine.setup.lead(Way { ifindex: machine.setup.kernel.index(Interface::Facing), ..way });
        let talk = Conversation::open(&mut machine.setup, Kind::Forwarded);
        let request = machine.tcp(Interface::Facing, (talk.client, talk.vip), ACK);
        let wanted = one_hop_on(&request, (talk.source, talk.backend), Interface::Facing, BACKEND_MAC);
        machine.wire(Interface::Facing, WIRE_SENDS);
        machine.passes("a wire that cannot return", Interface::Facing, &request.bytes());
        machine.wire(Interface::Facing, WIRE_RETURNS);
        machine.becomes(Interface::Facing, &request, Action::Returned, &wanted);
        let answer = machine.tcp(Interface::Facing, (talk.backend, talk.source), ACK);
        let wanted = one_hop_on(&answer, (talk.vip, talk.client), Interface::Facing, CLIENT_MAC);
        machine.becomes(Interface::Facing, &answer, Action::Returned, &wanted);
        ip(&format!("route replace {net} dev uplink"));
        neighbour_is(neighbour, BACKEND_MAC, "uplink");
        machine.setup.lead(way);
    });
}

/// What a packet costs. The kernel runs the program on what the last run left: so a connection is taken whose packets look the same
/// afterwards, but for the hops that they have left.
#[test]
fn a_packet_costs_little() {
    each(|machine, talk| {
        let v4 = talk.vip.is_ipv4();
        let cost = |machine: &mut Machine, what: &str, packet: &Packet, repeat, wanted| {
            let runs = (0..20).map(|_| machine.repeat(Interface::Facing, &packet.bytes(), repeat));
            let runs: Vec<_> = runs.inspect(|(action, ..)| assert_eq!(*action, wanted, "{what}")).collect();
            let ns = runs.iter().map(|(_, _, ns)| *ns).min().unwrap();
            println!("{} XDP, {what:30} {ns:>6} ns", if v4 { "V4" } else { "V6" });
            assert!(ns < 100_000, "{what}: {ns}");
        };
        let packet =
            |machine: &Machine, src, dst| machine.tcp(Interface::Facing, (src, dst), ACK).data(&[7; 512]);
        let foreign = packet(machine, talk.client, talk.backend);
        cost(machine, "foreign", &foreign, 10_000, Action::Pass);
        let alike = packet(machine, talk.client, talk.source);
        cost(machine, "foreign, a port like ours", &alike, 10_000, Action::Pass);
        let same = packet(machine, SocketAddr::new(talk.client.ip(), 20_007), talk.vip);
        leads_to_itself(machine, &same);
        cost(machine, "a forwarded client's", &same.with_ip(|ip| ip.hops = 255), 200, Action::Returned);
    });
}

/// A connection whose backend is its VIP, behind the interface that the packet came in by, whose neighbour has its address.
fn leads_to_itself(machine: &mut Machine, packet: &Packet) {
    let facing = machine.setup.kernel.index(Interface::Facing);
    neighbour_is(&packet.dst.ip().to_string(), Interface::Facing.mac(), "facing");
    let net = if packet.dst.is_ipv4() { "/32" } else { "/128" };
    ip(&format!("route replace {}{net} dev facing", packet.dst.ip()));
    let (client, vip) = (encode::endpoint(packet.src), encode::endpoint(packet.dst));
    let (_, mut flow) = machine.setup.flows()[0];
    (flow.client, flow.vip, flow.source, flow.ifindex) = (client, vip, client.address(), facing);
    let node = NodeKey { backend: vip, port: client.port_word().into() };
    machine.setup.lead(Way { ifindex: facing, ..machine.setup.way });
    machine.setup.kernel.hash("OPEN").insert(ClientKey { client, vip }, node, 0).unwrap();
    machine.setup.kernel.hash("OPEN_FLOWS").insert(node, flow, 0).unwrap();
}
