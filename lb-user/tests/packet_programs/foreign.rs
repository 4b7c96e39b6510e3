//! What is none of the programs' business, however much it looks like it.

use std::net::SocketAddr;

use super::{
    conversation::{Conversation, Kind},
    kernel::{Hook, Interface, Verdict},
    packet::{ACK, FIN, Link, PSH, Packet, RST, SYN},
    setup::{Setup, each, each_kind},
};

const FLAGS: [u8; 6] = [SYN, SYN | ACK, ACK, ACK | PSH, FIN | ACK, RST];

/// Everywhere.
fn hooks(setup: &Setup) -> Vec<Hook> {
    let interfaces = [Interface::Loopback, Interface::Facing, Interface::Uplink];
    let ways = |interface| [setup.comes_in(interface), setup.goes_out(interface)];
    let own = |interface| Hook { forwarded: false, ..setup.goes_out(interface) };
    interfaces
        .into_iter()
        .flat_map(|interface| [ways(interface).to_vec(), vec![own(interface)]].concat())
        .collect()
}

#[track_caller]
fn leaves_alone_everywhere(setup: &mut Setup, src: SocketAddr, dst: SocketAddr) {
    for hook in hooks(setup) {
        for flags in FLAGS {
            let packet = setup.tcp(hook, src, dst, flags).data(b"whatever");
            setup.leaves_alone(hook, &packet);
        }
    }
}

/// Another port, and another address.
fn neighbours(of: SocketAddr, foreign: std::net::IpAddr) -> [SocketAddr; 3] {
    [
        SocketAddr::new(foreign, of.port()),
        SocketAddr::new(of.ip(), of.port() ^ 1),
        SocketAddr::new(of.ip(), of.port() ^ 0x100),
    ]
}

#[test]
fn the_same_ports_between_other_addresses() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let foreign = setup.form.family.outside(200);
        let steps = talk.toward(setup).into_iter().chain(talk.back(setup));
        let tally = setup.tally();
        for (src, dst) in steps.map(|step| step.before).collect::<Vec<_>>() {
            for src in neighbours(src, foreign) {
                // Other clients of the VIP are none of these.
                if dst != talk.vip {
                    leaves_alone_everywhere(setup, src, dst);
                }
                leaves_alone_everywhere(setup, src, SocketAddr::new(foreign, dst.port()));
            }
            for dst in neighbours(dst, foreign) {
                leaves_alone_everywhere(setup, src, dst);
            }
        }
        assert_eq!(setup.tally(), tally);
        assert_eq!(setup.counted(), [0, 0, 1, 1]);
    });
}

#[test]
fn the_answer_of_a_backend_at_the_wrong_place() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let last = talk.back(setup).pop().unwrap();
        for hook in
            hooks(setup).into_iter().filter(|hook| hook.outwards && hook.interface != last.hook.interface)
        {
            // A forwarded client may be reached by any interface but loopback, one of the node's only there.
            if (kind == Kind::Forwarded) != (hook.interface == Interface::Loopback) {
                continue;
            }
            let packet = setup.tcp(hook, last.before.0, last.before.1, ACK);
            setup.leaves_alone(hook, &packet);
        }
    });
}

#[test]
fn frames_for_other_machines() {
    each(|setup| {
        if setup.form.bare {
            return;
        }
        let talk = Conversation::open(setup, Kind::Forwarded);
        let steps = [talk.toward(setup).remove(0), talk.back(setup).remove(0)];
        for step in steps {
            let mut packet = setup.tcp(step.hook, step.before.0, step.before.1, ACK);
            let Link::Ethernet { to, .. } = &mut packet.link else { unreachable!() };
            *to = [2, 0, 0, 0, 0, 0x77];
            setup.leaves_alone(step.hook, &packet);
        }
    });
}

#[test]
fn frames_that_are_not_ip() {
    each(|setup| {
        if setup.form.bare {
            return;
        }
        let talk = Conversation::open(setup, Kind::Forwarded);
        for step in talk.toward(setup).into_iter().chain(talk.back(setup)) {
            let packet = setup.tcp(step.hook, step.before.0, step.before.1, ACK);
            for kind in [0x0806_u16, 0x88cc, 0x8847, 0x8864, 0x0600, 0x0040, 0xffff] {
                let mut bytes = packet.bytes();
                bytes[12..14].copy_from_slice(&kind.to_be_bytes());
                let found = setup.kernel.run(step.hook, &bytes);
                assert_eq!((found.verdict, found.bytes), (Verdict::Next, bytes));
            }
        }
    });
}

#[test]
fn everything_without_rules_and_services() {
    each(|setup| {
        let vip = setup.form.family.vip();
        setup.tell(|rules| *rules = Default::default());
        let client = setup.form.family.client();
        leaves_alone_everywhere(setup, vip, client);
        setup.withdraw();
        leaves_alone_everywhere(setup, client, vip);
        assert_eq!(setup.tally(), Default::default());
    });
}

#[test]
fn a_port_of_ours_on_the_vip_is_the_vip() {
    each(|setup| {
        // A service may listen where connections get their ports.
        let talk = Conversation::open(setup, Kind::Forwarded);
        let hook = setup.comes_in(Interface::Facing);
        let other = SocketAddr::new(talk.vip.ip(), talk.source.port());
        let packet: Packet = setup.tcp(hook, talk.client, other, SYN);
        setup.leaves_alone(hook, &packet);
    });
}
