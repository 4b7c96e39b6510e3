//! What a packet costs in each program. The kernel runs a program on one packet many times, so that a connection is taken whose
//! packets look the same afterwards: everything is looked up, computed and written all the same.

use std::{net::SocketAddr, time::Duration};

use lb_common::packet::{ClientKey, FLOW_ANSWERED, FLOW_COUNTED, FLOW_HOST, Flow, NodeKey, Way};
use lb_user::dataplane::services::encode;

use super::{
    family::Family,
    kernel::{Extra, Hook, Interface, Verdict, within},
    packet::ACK,
    setup::{Form, Setup},
};

/// So many times. Under emulation a packet takes a hundred times as long.
const REPEAT: u32 = 10_000;
const MOST: Duration = Duration::from_micros(100);

fn costs(setup: &mut Setup, hook: Hook, ends: (SocketAddr, SocketAddr), verdict: Verdict) -> Duration {
    let packet = setup.tcp(hook, ends.0, ends.1, ACK).data(&[7; 512]).bytes();
    let extra = Extra { repeat: REPEAT, ..Extra::default() };
    let runs = (0..3).map(|_| setup.kernel.run_as(hook, &packet, extra).unwrap());
    let runs: Vec<_> = runs.collect();
    assert!(runs.iter().all(|(outcome, _)| outcome.verdict == verdict), "{ends:?}");
    runs.into_iter().map(|(_, duration)| duration).min().unwrap()
}

/// A connection by these two keys.
fn enter(setup: &mut Setup, client: ClientKey, node: NodeKey, state: u32) {
    let source = client.client.address();
    let flow = Flow { client: client.client, vip: client.vip, source, state, ..Flow::default() };
    setup.kernel.hash("OPEN").insert(client, node, 0).unwrap();
    setup.kernel.hash("OPEN_FLOWS").insert(node, flow, 0).unwrap();
}

#[test]
fn a_packet_costs_little() {
    within(|kernel| {
        let mut setup = Setup::new(kernel, Form { family: Family::V4, bare: false });
        for family in [Family::V4, Family::V6] {
            setup.form.family = family;
            setup.renew();
            for (what, cost) in table(&mut setup, family) {
                println!("{family:?} {what:45} {:>6} ns", cost.as_nanos());
                assert!(cost < MOST, "{what}: {cost:?}");
            }
        }
    });
}

fn table(setup: &mut Setup, family: Family) -> Vec<(&'static str, Duration)> {
    let at = |ip, port| SocketAddr::new(ip, port);
    let (vip, backend) = (family.vip(), family.backend(1));
    let client = at(family.client().ip(), 20_007);
    let own = at(family.node(), 20_008);
    let key = |client: SocketAddr, vip: SocketAddr| ClientKey {
        client: encode::endpoint(client),
        vip: encode::endpoint(vip),
    };
    let node = |backend: SocketAddr, port: u16| NodeKey {
        backend: encode::endpoint(backend),
        port: port.to_be().into(),
    };
    enter(setup, key(client, vip), node(vip, client.port()), FLOW_ANSWERED);
    let open = FLOW_ANSWERED | FLOW_HOST | FLOW_COUNTED;
    enter(setup, key(own, vip), node(vip, own.port()), open);
    let (forwarded, host) = (at(client.ip(), 20_017), at(own.ip(), 20_018));
    enter(setup, key(forwarded, backend), node(backend, forwarded.port()), FLOW_ANSWERED);
    enter(setup, key(host, backend), node(backend, host.port()), open);
    let source = encode::endpoint(at(family.node(), 0)).address();
    setup.lead(Way { source, in_place: 1, ..setup.way });
    let foreign = (at(family.outside(1), 443), at(family.outside(2), 50_000));
    let alike = (at(family.outside(1), 443), at(family.outside(2), 20_017));
    let (facing, uplink) = (setup.comes_in(Interface::Facing), setup.comes_in(Interface::Uplink));
    let (to_client, to_backend) = (setup.goes_out(Interface::Facing), setup.goes_out(Interface::Uplink));
    let loopback = setup.goes_out(Interface::Loopback);
    let turned = (alike.1, alike.0);
    [
        ("in: foreign", facing, foreign, Verdict::Next),
        ("in: foreign, a port like ours", facing, alike, Verdict::Next),
        ("in: a forwarded client's, to its backend", facing, (client, vip), Verdict::Next),
        ("in: a backend's, for a forwarded client", uplink, (backend, forwarded), Verdict::Next),
        ("in: a backend's, for a process of the node's", uplink, (backend, host), Verdict::Next),
        ("out: foreign", to_backend, foreign, Verdict::Next),
        ("out: foreign, a port like ours", to_backend, turned, Verdict::Next),
        ("out: a backend's, for a forwarded client", to_client, (backend, forwarded), Verdict::Next),
        ("out: a process of the node's, to its backend", loopback, (own, vip), Verdict::Redirect),
    ]
    .map(|(what, hook, ends, verdict)| (what, costs(setup, hook, ends, verdict)))
    .into()
}
