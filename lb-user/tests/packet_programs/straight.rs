//! The short way of what the node's own processes say: what leads to it, and what does not.

use std::net::{IpAddr, SocketAddr};

use lb_common::packet::{
    ClientKey, DROP_UNKNOWN, FLOW_ANSWERED, FLOW_COUNTED, FLOW_HOST, Flow, NodeKey, TALLY_ENDED, Way,
};
use lb_user::dataplane::services::encode;

use super::{
    conversation::{Conversation, Kind},
    kernel::{Bytes, Interface, Verdict},
    packet::{ACK, PSH},
    setup::{FIRST_PORT, Setup, each},
};

/// As many as the programs have.
const PLACES: u16 = 1024;

/// An element of `HINTS`: the VIP, the backend, the port, the time.
type Hint = [u64; 8];

fn hint(setup: &mut Setup, client: SocketAddr) -> Hint {
    let place = u32::from(client.port() % PLACES);
    setup.kernel.array::<Hint>("HINTS").get(&place, 0).unwrap().0
}

fn change(setup: &mut Setup, client: SocketAddr, change: impl FnOnce(&mut Hint)) {
    let mut hint = hint(setup, client);
    change(&mut hint);
    let place = u32::from(client.port() % PLACES);
    setup.kernel.array::<Hint>("HINTS").set(place, Bytes(hint), 0).unwrap();
}

/// The table has it no longer by the client's key, so that the long way does not find it.
fn hide(setup: &mut Setup, talk: &Conversation) {
    let key = ClientKey { client: encode::endpoint(talk.client), vip: encode::endpoint(talk.vip) };
    setup.kernel.hash::<ClientKey, NodeKey>("OPEN").remove(&key).unwrap();
}

fn sends_data(setup: &mut Setup, talk: &Conversation) {
    talk.sends(setup, ACK | PSH, |segment| segment.payload = vec![7; 700]);
}

fn is_refused(setup: &mut Setup, talk: &Conversation) {
    let lo = setup.goes_out(Interface::Loopback);
    let before = setup.tally().get(&DROP_UNKNOWN).copied().unwrap_or_default();
    let packet = setup.tcp(lo, talk.client, talk.vip, ACK | PSH).data(&[7; 700]);
    assert_eq!(setup.kernel.run(lo, &packet.bytes()).verdict, Verdict::Redirect);
    assert_eq!(setup.tally().get(&DROP_UNKNOWN), Some(&(before + 1)));
}

#[test]
fn what_was_found_lately_is_not_looked_for_by_the_clients_key() {
    each(|setup| {
        let talk = Conversation::open(setup, Kind::Host);
        hide(setup, &talk);
        for _ in 0..3 {
            sends_data(setup, &talk);
        }
        change(setup, talk.client, |hint| hint[7] -= 1_100_000_000);
        is_refused(setup, &talk);
    });
}

#[test]
fn what_goes_the_long_way_leads_the_next_one_to_the_short_way() {
    each(|setup| {
        let talk = Conversation::open(setup, Kind::Host);
        change(setup, talk.client, |hint| *hint = [0; 8]);
        sends_data(setup, &talk);
        hide(setup, &talk);
        sends_data(setup, &talk);
    });
}

#[test]
fn a_connection_that_was_taken_out_is_refused_at_once() {
    each(|setup| {
        let talk = Conversation::open(setup, Kind::Host);
        sends_data(setup, &talk);
        let (_, node, _) = setup.known(talk.client).unwrap();
        hide(setup, &talk);
        setup.kernel.hash::<NodeKey, Flow>("OPEN_FLOWS").remove(&node).unwrap();
        is_refused(setup, &talk);
        assert_eq!(setup.tally().get(&TALLY_ENDED), None);
    });
}

#[test]
fn two_that_share_a_place_go_each_its_own_way() {
    each(|setup| {
        let one = Conversation::open(setup, Kind::Host);
        let alike = [
            SocketAddr::new(one.client.ip(), one.client.port() - PLACES),
            SocketAddr::new(setup.form.family.outside(3), one.client.port()),
        ];
        for client in alike {
            let other = Conversation::open_from(setup, Kind::Host, client);
            assert_ne!((one.backend, one.source), (other.backend, other.source));
            for _ in 0..3 {
                sends_data(setup, &one);
                sends_data(setup, &other);
                sends_data(setup, &other);
            }
        }
    });
}

#[test]
fn half_a_hint_leads_nowhere() {
    each(|setup| {
        let one = Conversation::open(setup, Kind::Host);
        let client = SocketAddr::new(one.client.ip(), one.client.port() - PLACES);
        let other = Conversation::open_from(setup, Kind::Host, client);
        let others = hint(setup, other.client);
        sends_data(setup, &one);
        let ones = hint(setup, one.client);
        assert_ne!(ones, others);
        // As two processors may leave it that write at the same time.
        for kept in 0..8 {
            change(setup, one.client, |hint| {
                *hint = ones;
                hint[kept..].copy_from_slice(&others[kept..]);
            });
            sends_data(setup, &one);
        }
    });
}

#[test]
fn what_the_backend_sends_takes_the_short_way_only_where_it_may_stay() {
    each(|setup| {
        setup.lead(Way { in_place: 1, ..setup.way });
        let talk = Conversation::open(setup, Kind::Host);
        hide(setup, &talk);
        let heard = setup.flows()[0].1.heard;
        talk.answers(setup, ACK, |segment| (segment.sequence, segment.payload) = (900, vec![7; 700]));
        let (_, flow) = setup.flows()[0];
        assert!(flow.heard > heard && flow.to_client == 1600, "{flow:?}");
        setup.lead(Way { in_place: 0, ..setup.way });
        talk.answers(setup, ACK, |segment| (segment.sequence, segment.payload) = (1600, vec![7; 700]));
        assert_eq!(setup.flows()[0].1.to_client, 2300);
    });
}

/// An address whose halves are exchanged, which no checksum tells from the other.
fn turned(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [c, d, a, b].into()
        }
        IpAddr::V6(ip) => {
            let mut words = ip.segments();
            words.reverse();
            words.into()
        }
    }
}

#[test]
fn ports_are_in_the_checksum_where_addresses_change_nothing_in_it() {
    each(|setup| {
        let family = setup.form.family;
        // The kernel would take half of the turned address for the protocol; see `kernel`.
        if setup.form.bare {
            return;
        }
        let (vip, client) = (family.vip(), SocketAddr::new(family.node(), 40_321));
        let backend = SocketAddr::new(turned(vip.ip()), 6443);
        let client_key = ClientKey { client: encode::endpoint(client), vip: encode::endpoint(vip) };
        let node = NodeKey { backend: encode::endpoint(backend), port: FIRST_PORT.to_be().into() };
        let flow = Flow {
            client: client_key.client,
            vip: client_key.vip,
            source: client_key.client.address(),
            state: FLOW_ANSWERED | FLOW_HOST | FLOW_COUNTED,
            ..Flow::default()
        };
        setup.lead(Way { in_place: 1, ..setup.way });
        setup.kernel.hash("OPEN").insert(client_key, node, 0).unwrap();
        setup.kernel.hash("OPEN_FLOWS").insert(node, flow, 0).unwrap();
        let talk = Conversation::known(setup, Kind::Host, client);
        for _ in 0..2 {
            sends_data(setup, &talk);
            talk.answers(setup, ACK, |segment| segment.payload = vec![7; 700]);
        }
    });
}
