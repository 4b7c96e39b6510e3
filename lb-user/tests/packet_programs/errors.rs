//! ICMP errors about connections, from the backend's side and from the client's.

use lb_common::packet::{DROP_GIVEN_UP, TALLY_BEGUN};

use super::{
    conversation::{Conversation, Step},
    family::Family,
    kernel::{Interface, Outcome, Verdict},
    packet::{ACK, Body, HOP_BY_HOP, Packet, SYN},
    setup::{Setup, each, each_kind, same},
};

/// Errors about a segment: type and code of unreachable, too big, time exceeded, parameter problem.
fn errors(family: Family) -> Vec<(u8, u8)> {
    match family {
        Family::V4 => vec![(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)],
        Family::V6 => vec![(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (4, 1)],
    }
}

/// About the segment that went the other way at this hook.
fn about(setup: &Setup, step: &Step) -> Packet {
    setup.tcp(step.hook, step.before.1, step.before.0, ACK).data(&[9; 64])
}

/// How much of it is shown, at the least: its network header and eight bytes more (RFC 792).
fn least(packet: &Packet) -> usize {
    packet.l4() - packet.l3() + 8
}

#[test]
fn errors_of_the_backends_side_reach_the_client() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let router = setup.form.family.router();
        for from in [talk.backend.ip(), router] {
            for what in errors(setup.form.family) {
                // Any more of it, all, and an odd number.
                for more in [0, 12, 33, 1000] {
                    let steps = talk.back(setup);
                    talk.goes(setup, &steps, |setup, step| {
                        let about = about(setup, step);
                        // At the last hook the stack has it from whom the one before left it.
                        let shown = least(&about) + more;
                        Packet::error(setup.link(step.hook), from, step.before.1.ip(), what, &about, shown)
                    });
                }
            }
        }
    });
}

#[test]
fn errors_of_the_clients_side_reach_the_backend() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let gateway = setup.form.family.outside(1);
        for from in [talk.client.ip(), gateway] {
            for what in errors(setup.form.family) {
                let steps = talk.toward(setup);
                talk.goes(setup, &steps, |setup, step| {
                    let about = about(setup, step);
                    let from = if from == talk.client.ip() { step.before.0.ip() } else { from };
                    Packet::error(
                        setup.link(step.hook),
                        from,
                        step.before.1.ip(),
                        what,
                        &about,
                        least(&about),
                    )
                });
            }
        }
    });
}

#[test]
fn errors_about_packets_with_options_are_translated() {
    each_kind(|setup, kind| {
        if setup.form.family == Family::V6 {
            return;
        }
        let talk = Conversation::open(setup, kind);
        let steps = talk.back(setup);
        for (inside, outside) in [(4, 0), (40, 0), (0, 8), (8, 16), (20, 40)] {
            talk.goes(setup, &steps, |setup, step| {
                let about = about(setup, step).with_ip(|ip| ip.options = vec![1; inside]);
                let router = setup.form.family.router();
                Packet::error(
                    setup.link(step.hook),
                    router,
                    step.before.1.ip(),
                    (3, 4),
                    &about,
                    least(&about),
                )
                .with_ip(|ip| ip.options = vec![1; outside])
            });
        }
    });
}

#[test]
fn errors_behind_extension_headers_are_translated() {
    each_kind(|setup, kind| {
        if setup.form.family == Family::V4 {
            return;
        }
        let talk = Conversation::open(setup, kind);
        let steps = talk.back(setup);
        talk.goes(setup, &steps, |setup, step| {
            let about = about(setup, step);
            let router = setup.form.family.router();
            Packet::error(setup.link(step.hook), router, step.before.1.ip(), (2, 0), &about, least(&about))
                .with_ip(|ip| ip.extensions = vec![(HOP_BY_HOP, vec![0, 1, 4, 0, 0, 0, 0])])
        });
    });
}

#[test]
fn an_error_that_is_cut_short_is_translated_whole_or_not_at_all() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        for step in talk.back(setup).into_iter().chain(talk.toward(setup)) {
            let about = about(setup, &step);
            let shown = least(&about);
            let what = errors(setup.form.family)[3];
            let router = setup.form.family.router();
            let packet =
                Packet::error(setup.link(step.hook), router, step.before.1.ip(), what, &about, shown);
            let (wanted, verdict) = step.makes_of(&packet);
            let added = wanted.bytes().len() - packet.bytes().len();
            // All but the sequence number is needed.
            let needed = packet.bytes().len() - 4;
            for length in 14..packet.bytes().len() {
                let given = &packet.bytes()[..length];
                let Ok((found, _)) = setup.kernel.run_as(step.hook, given, Default::default()) else {
                    continue;
                };
                let wanted = if length >= needed {
                    Outcome { verdict, bytes: wanted.bytes()[..length + added].to_vec() }
                } else {
                    Outcome { verdict: Verdict::Next, bytes: given.to_vec() }
                };
                same(&found, &wanted, given);
            }
        }
    });
}

#[test]
fn other_messages_are_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let known = errors(setup.form.family);
        for step in talk.back(setup).into_iter().chain(talk.toward(setup)) {
            let about = about(setup, &step);
            for what in (0..=255_u8).filter(|kind| known.iter().all(|(known, _)| known != kind)) {
                let (src, dst) = (step.before.0.ip(), step.before.1.ip());
                let packet = Packet::error(setup.link(step.hook), src, dst, (what, 0), &about, least(&about));
                setup.leaves_alone(step.hook, &packet);
            }
        }
    });
}

#[test]
fn errors_about_others_are_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let router = setup.form.family.router();
        for step in talk.back(setup).into_iter().chain(talk.toward(setup)) {
            let foreign = std::net::SocketAddr::new(setup.form.family.outside(99), step.before.1.port());
            let nobody = std::net::SocketAddr::new(step.before.0.ip(), step.before.0.port() ^ 1);
            for (src, dst) in [(foreign, step.before.0), (step.before.1, nobody)] {
                let about = setup.tcp(step.hook, src, dst, ACK);
                let what = errors(setup.form.family)[0];
                let packet = Packet::error(
                    setup.link(step.hook),
                    router,
                    step.before.1.ip(),
                    what,
                    &about,
                    least(&about),
                );
                setup.leaves_alone(step.hook, &packet);
            }
        }
    });
}

#[test]
fn errors_about_later_fragments_and_other_protocols_are_left_alone() {
    each_kind(|setup, kind| {
        let talk = Conversation::open(setup, kind);
        let router = setup.form.family.router();
        for step in talk.back(setup).into_iter().chain(talk.toward(setup)) {
            let about = about(setup, &step);
            let what = errors(setup.form.family)[0];
            let whole = Packet::error(setup.link(step.hook), router, step.before.1.ip(), what, &about, 200);
            let changed = |change: &dyn Fn(&mut Packet)| {
                let mut packet = whole.clone();
                let Body::Error { about, .. } = &mut packet.body else { unreachable!() };
                change(about);
                packet
            };
            let udp = changed(&|about| about.body = Body::Raw { protocol: 17, bytes: vec![0x40; 64] });
            setup.leaves_alone(step.hook, &udp);
            if setup.form.family == Family::V4 {
                let later = changed(&|about| about.ip.offset = 9);
                setup.leaves_alone(step.hook, &later);
            }
        }
    });
}

#[test]
fn an_unreachable_backend_is_given_up_unless_rescue_is_off() {
    each_kind(|setup, kind| {
        for rescues in [1, 0] {
            setup.tell(|rules| rules.rescues = rescues);
            setup.renew();
            let talk = Conversation::begin(setup, kind);
            let steps = talk.back(setup);
            let last = steps.last().unwrap();
            let about = setup.tcp(last.hook, last.before.1, last.before.0, SYN);
            let what = errors(setup.form.family)[1];
            let link = setup.link(last.hook);
            let router = setup.form.family.router();
            let packet = Packet::error(link, router, last.before.1.ip(), what, &about, least(&about));
            assert_eq!(setup.backend_record(0).refused, 0);
            if rescues == 0 {
                talk.goes(setup, &steps[steps.len() - 1..], |_, _| packet.clone());
            } else {
                setup.drops(last.hook, &packet);
                assert_eq!(setup.tally(), [(TALLY_BEGUN, 1), (DROP_GIVEN_UP, 1)].into());
            }
            assert_eq!(setup.backend_record(0).refused, 1);
        }
    });
}

#[test]
fn an_error_about_no_connection_passes() {
    each(|setup| {
        let hook = setup.comes_in(Interface::Facing);
        let (client, vip) = (setup.form.family.client(), setup.form.family.vip());
        let about = setup.tcp(hook, vip, client, ACK);
        let what = errors(setup.form.family)[0];
        let packet = Packet::error(setup.link(hook), client.ip(), vip.ip(), what, &about, least(&about));
        setup.leaves_alone(hook, &packet);
    });
}
