//! What passes by the stack, to the last byte, and what goes the long way all the same.

use std::net::SocketAddr;

use lb_common::packet::{FLOW_BACKEND_DONE, FLOW_CLIENT_DONE, Flow, NodeKey, Way};
use lb_user::dataplane::services::encode;

use super::{
    conversation::{Conversation, Kind, Step},
    family::Family,
    kernel::{Extra, Hook, Interface, Outcome, Verdict, ip, within},
    packet::{ACK, PSH, Packet},
    setup::{Form, Setup, same},
    xdp::machine::{BACKEND_MAC, CLIENT_MAC, forwards, lead_everywhere, neighbour_is, one_hop_on},
};

/// Payloads of several lengths, odd ones among them.
const LENGTHS: [usize; 6] = [0, 1, 2, 37, 512, 1400];

/// Runs a test for both families, with a forwarded connection that is open. Before, there are no ways: so it is opened by the
/// stack.
fn each(test: impl Fn(&mut Setup, &Conversation) + Sync) {
    within(|kernel| {
        lead_everywhere();
        let mut setup = Setup::new(kernel, Form { family: Family::V4, bare: false });
        for family in [Family::V4, Family::V6] {
            eprintln!("{family:?}");
            setup.form.family = family;
            setup.way.source = encode::endpoint((family.node(), 0).into()).address();
            setup.renew();
            let talk = open(&mut setup);
            test(&mut setup, &talk);
        }
    });
}

fn open(setup: &mut Setup) -> Conversation {
    setup.tell(|rules| rules.shortens = 0);
    let talk = Conversation::open(setup, Kind::Forwarded);
    setup.tell(|rules| rules.shortens = 1);
    talk
}

/// Both directions: the hook, the ends there, and what they become.
fn directions(setup: &Setup, talk: &Conversation) -> [(Hook, Ends, Ends, Interface, [u8; 6]); 2] {
    [
        (
            setup.comes_in(Interface::Facing),
            (talk.client, talk.vip),
            (talk.source, talk.backend),
            Interface::Uplink,
            BACKEND_MAC,
        ),
        (
            setup.comes_in(Interface::Uplink),
            (talk.backend, talk.source),
            (talk.vip, talk.client),
            Interface::Facing,
            CLIENT_MAC,
        ),
    ]
}

type Ends = (SocketAddr, SocketAddr);

#[track_caller]
fn goes_there_and_back(setup: &mut Setup, talk: &Conversation) {
    for (hook, before, after, leaves, neighbour) in directions(setup, talk) {
        for length in LENGTHS {
            for options in [0, 4, 12, 40] {
                let payload: Vec<u8> = (0..length).map(|n| (n * 7 + 3) as u8).collect();
                let packet = setup.tcp(hook, before.0, before.1, ACK | PSH).data(&payload);
                let packet = packet.with(|segment| segment.options = vec![1; options]);
                let wanted = one_hop_on(&packet, after, leaves, neighbour);
                setup.becomes(hook, &packet, Verdict::Redirect, &wanted);
            }
        }
    }
}

fn request(setup: &Setup, talk: &Conversation) -> Packet {
    setup.tcp(setup.comes_in(Interface::Facing), talk.client, talk.vip, ACK)
}

/// It is what follows that sends it the long way.
#[track_caller]
fn passes_by(setup: &mut Setup, talk: &Conversation) {
    let (hook, packet) = (setup.comes_in(Interface::Facing), request(setup, talk));
    assert_eq!(setup.kernel.run(hook, &packet.bytes()).verdict, Verdict::Redirect);
}

/// It becomes what the stack is to route.
#[track_caller]
fn goes_the_long_way(setup: &mut Setup, step: &Step, packet: &Packet) {
    let (wanted, verdict) = step.makes_of(packet);
    setup.becomes(step.hook, packet, verdict, &wanted);
}

#[track_caller]
fn request_goes_the_long_way(setup: &mut Setup, talk: &Conversation) {
    let packet = request(setup, talk);
    goes_the_long_way(setup, &talk.toward(setup)[0], &packet);
}

/// Changes what is known of the one connection.
fn change(setup: &mut Setup, change: impl FnOnce(&mut Flow)) {
    let (key, mut flow) = setup.flows()[0];
    change(&mut flow);
    setup.kernel.hash::<NodeKey, Flow>("OPEN_FLOWS").insert(key, flow, 0).unwrap();
}

#[test]
fn a_connections_segments_go_there_and_back() {
    each(goes_there_and_back);
}

#[test]
fn without_masquerade_the_backend_sees_the_client() {
    each(|setup, _| {
        setup.renew();
        setup.tell(|rules| rules.masquerades = 0);
        let talk = open(setup);
        assert_eq!(talk.source.ip(), talk.client.ip());
        goes_there_and_back(setup, &talk);
        setup.tell(|rules| rules.masquerades = 1);
    });
}

#[test]
fn what_stands_for_several_segments_is_as_long_as_one_of_them() {
    each(|setup, talk| {
        let net = if talk.vip.is_ipv4() { "8.0.2.0/24" } else { "2001:db8:86dd:2::/64" };
        let hook = setup.comes_in(Interface::Facing);
        let packet = request(setup, talk).data(&[5; 2800]);
        let wanted = one_hop_on(&packet, (talk.source, talk.backend), Interface::Uplink, BACKEND_MAC);
        let found = setup.run_segmented(hook, &packet);
        same(&found, &Outcome { verdict: Verdict::Redirect, bytes: wanted.bytes() }, &packet.bytes());
        // 1400 bytes of data and the headers.
        ip(&format!("route replace {net} dev uplink mtu lock 1439"));
        let (wanted, verdict) = talk.toward(setup)[0].makes_of(&packet);
        let found = setup.run_segmented(hook, &packet);
        same(&found, &Outcome { verdict, bytes: wanted.bytes() }, &packet.bytes());
        ip(&format!("route replace {net} dev uplink"));
    });
}

#[test]
fn what_is_noted_is_what_the_long_way_would_note_but_for_the_time() {
    each(|setup, talk| {
        let hook = setup.comes_in(Interface::Facing);
        let before = talk.flow(setup);
        let packet = request(setup, talk).data(&[0; 100]).with(|s| s.sequence = before.to_backend);
        assert_eq!(setup.kernel.run(hook, &packet.bytes()).verdict, Verdict::Redirect);
        let hook = setup.comes_in(Interface::Uplink);
        let packet = setup.tcp(hook, talk.backend, talk.source, ACK).data(&[0; 9]);
        let packet = packet.with(|segment| segment.sequence = before.to_client);
        assert_eq!(setup.kernel.run(hook, &packet.bytes()).verdict, Verdict::Redirect);
        let (to_backend, to_client) = (before.to_backend.wrapping_add(100), before.to_client.wrapping_add(9));
        assert_eq!(talk.flow(setup), Flow { to_backend, to_client, ..before });
    });
}

#[test]
fn packets_that_are_not_the_plainest_go_the_long_way() {
    each(|setup, talk| {
        passes_by(setup, talk);
        let plain = request(setup, talk);
        let step = &talk.toward(setup)[0];
        for hops in [0, 1] {
            goes_the_long_way(setup, step, &plain.clone().with_ip(|ip| ip.hops = hops));
        }
        match setup.form.family {
            Family::V4 => {
                goes_the_long_way(setup, step, &plain.clone().with_ip(|ip| ip.options = vec![1; 4]));
            }
            Family::V6 => {
                let destination = (super::packet::DESTINATION, vec![0, 1, 4, 0, 0, 0, 0]);
                goes_the_long_way(
                    setup,
                    step,
                    &plain.clone().with_ip(|ip| ip.extensions = vec![destination]),
                );
            }
        }
        goes_the_long_way(setup, step, &plain.clone().tagged(&[super::packet::TAG]));
        let extra = Extra { mark: 1, ..Extra::default() };
        let (found, _) = setup.kernel.run_as(step.hook, &plain.bytes(), extra).unwrap();
        assert_eq!(found.verdict, Verdict::Next, "marked");
        passes_by(setup, talk);
    });
}

#[test]
fn what_the_kernel_has_to_see_goes_the_long_way() {
    each(|setup, talk| {
        setup.tell(|rules| rules.shortens = 0);
        request_goes_the_long_way(setup, talk);
        setup.tell(|rules| rules.shortens = 1);
        passes_by(setup, talk);
        for state in [FLOW_CLIENT_DONE, FLOW_BACKEND_DONE] {
            change(setup, |flow| flow.state |= state);
            request_goes_the_long_way(setup, talk);
            change(setup, |flow| flow.state &= !state);
        }
        passes_by(setup, talk);
        let step = &talk.toward(setup)[0];
        let data = request(setup, talk).data(&[0; 10]);
        change(setup, |flow| flow.seen -= 1_500_000_000);
        assert_eq!(setup.kernel.run(step.hook, &data.bytes()).verdict, Verdict::Redirect);
        request_goes_the_long_way(setup, talk);
        passes_by(setup, talk);
        change(setup, |flow| flow.seen -= 2_500_000_000);
        goes_the_long_way(setup, step, &data);
        passes_by(setup, talk);
    });
}

#[test]
fn what_the_routing_tables_leave_to_the_stack_goes_the_long_way() {
    each(|setup, talk| {
        let (net, backend) = match setup.form.family {
            Family::V4 => ("8.0.2.0/24", "8.0.2.1"),
            Family::V6 => ("2001:db8:86dd:2::/64", "2001:db8:86dd:2::1"),
        };
        let step = &talk.toward(setup)[0];
        let long = request(setup, talk).data(&[3; 1500]);
        goes_the_long_way(setup, step, &long);
        ip(&format!("neigh del {backend} dev uplink"));
        request_goes_the_long_way(setup, talk);
        neighbour_is(backend, BACKEND_MAC, "uplink");
        ip(&format!("route replace {net} dev uplink mtu lock 1280"));
        goes_the_long_way(setup, step, &request(setup, talk).data(&[3; 1300]));
        ip(&format!("route replace {net} dev facing"));
        request_goes_the_long_way(setup, talk);
        ip(&format!("route replace {net} dev uplink"));
        neighbour_is(backend, BACKEND_MAC, "uplink");
        forwards(false);
        request_goes_the_long_way(setup, talk);
        forwards(true);
        passes_by(setup, talk);
    });
}

#[test]
fn what_comes_or_goes_by_another_interface_goes_the_long_way() {
    each(|setup, talk| {
        let hook = setup.comes_in(Interface::Uplink);
        let packet = setup.tcp(hook, talk.client, talk.vip, ACK);
        let wanted = packet.between((talk.client.ip(), talk.source.port()).into(), talk.backend);
        setup.becomes(hook, &packet, Verdict::Next, &wanted);
        let hook = setup.comes_in(Interface::Facing);
        let packet = setup.tcp(hook, talk.backend, talk.source, ACK);
        let wanted = packet.between(talk.backend, (talk.client.ip(), talk.source.port()).into());
        setup.becomes(hook, &packet, Verdict::Next, &wanted);
        let way = setup.way;
        setup.lead(Way { ifindex: 1, local: 1, ..way });
        request_goes_the_long_way(setup, talk);
        setup.lead(way);
        passes_by(setup, talk);
    });
}
