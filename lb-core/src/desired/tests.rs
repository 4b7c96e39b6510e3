#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::model::{Admin, Health, OnAllDown, OnDown, Prefer};

const HEALTHS: &[Health] = &[Health::Unknown, Health::Up, Health::Suspect, Health::NotReady, Health::Dead];

fn address(host: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 168, 0, host), 6443).into()
}

/// Was up once, and has the health of the name now.
fn seasoned(health: Health) -> Candidate {
    Candidate {
        address: address(1),
        weight: 1,
        drained: false,
        admin: Admin::Active,
        health,
        returning: false,
        adopted: false,
        ever_up: true,
        accepts_tcp: matches!(health, Health::Up | Health::NotReady),
        trusted: true,
        local: false,
        unlisted: false,
    }
}

fn newcomer(health: Health) -> Candidate {
    Candidate { ever_up: false, ..seasoned(health) }
}

fn up() -> Candidate {
    seasoned(Health::Up)
}

fn suspect() -> Candidate {
    seasoned(Health::Suspect)
}

fn unready() -> Candidate {
    seasoned(Health::NotReady)
}

fn dead() -> Candidate {
    seasoned(Health::Dead)
}

/// Dead, but its kernel still accepts connections.
fn hung() -> Candidate {
    Candidate { accepts_tcp: true, ..dead() }
}

fn impostor() -> Candidate {
    Candidate { trusted: false, ..hung() }
}

fn adopted() -> Candidate {
    Candidate { adopted: true, ..newcomer(Health::Unknown) }
}

fn local(candidate: Candidate) -> Candidate {
    Candidate { local: true, ..candidate }
}

/// `+` for each that serves, `-` for each that does not.
fn signs(candidates: &[Candidate], prefer: Prefer, on_all_down: OnAllDown) -> String {
    let sign = |standing: &Standing| if standing.is_serving() { '+' } else { '-' };
    serving(candidates, prefer, on_all_down).iter().map(sign).collect()
}

#[test]
fn the_first_tier_that_has_anybody_serves_alone() {
    // Candidates, then who serves with auto, all and refuse.
    let rows: &[(&[Candidate], &str, &str, &str)] = &[
        (&[], "", "", ""),
        (&[up(), up(), up()], "+++", "+++", "+++"),
        (&[up(), suspect(), unready(), dead(), hung()], "+----", "+----", "+----"),
        (&[up(), adopted(), newcomer(Health::Unknown)], "++-", "++-", "++-"),
        (&[adopted(), suspect()], "+-", "+-", "+-"),
        (&[suspect(), suspect(), unready(), hung()], "++--", "++--", "++--"),
        (&[newcomer(Health::Suspect), unready()], "-+", "++", "--"),
        (&[unready(), unready(), hung(), dead()], "++--", "++++", "----"),
        (&[newcomer(Health::NotReady), hung()], "-+", "++", "--"),
        (&[hung(), dead(), impostor()], "+--", "+++", "---"),
        (&[dead(), dead()], "--", "++", "--"),
        (&[impostor()], "-", "+", "-"),
        (&[newcomer(Health::Dead), newcomer(Health::Unknown)], "--", "++", "--"),
        (&[Candidate { adopted: true, ever_up: false, ..hung() }], "+", "+", "-"),
        (&[Candidate { adopted: true, ever_up: false, ..unready() }], "+", "+", "-"),
    ];
    for (candidates, auto, all, refuse) in rows {
        let expected = [(OnAllDown::Auto, auto), (OnAllDown::All, all), (OnAllDown::Refuse, refuse)];
        for (on_all_down, signs_expected) in expected {
            let signs = signs(candidates, Prefer::None, on_all_down);
            assert_eq!(&signs, signs_expected, "{on_all_down}: {candidates:#?}");
        }
    }
}

#[test]
fn the_operator_and_a_weight_of_zero_have_the_last_word() {
    for admin in [Admin::Draining, Admin::Disabled] {
        let row = [Candidate { admin, ..up() }, dead()];
        assert_eq!(signs(&row, Prefer::None, OnAllDown::Auto), "--");
        assert_eq!(signs(&row, Prefer::None, OnAllDown::All), "-+");
    }
    let row = [Candidate { weight: 0, ..up() }, suspect()];
    assert_eq!(signs(&row, Prefer::None, OnAllDown::Auto), "-+");
}

#[test]
fn a_local_backend_goes_first_only_while_it_is_up() {
    let rows: &[(&[Candidate], &str)] = &[
        (&[local(up()), up()], "+-"),
        (&[local(up()), local(up()), up()], "++-"),
        (&[local(adopted()), up()], "+-"),
        (&[local(suspect()), up()], "-+"),
        (&[local(suspect()), suspect()], "++"),
        (&[local(dead()), up(), up()], "-++"),
        (&[local(Candidate { admin: Admin::Draining, ..up() }), up()], "-+"),
        (&[local(Candidate { weight: 0, ..up() }), up()], "-+"),
    ];
    for (candidates, expected) in rows {
        assert_eq!(&signs(candidates, Prefer::Local, OnAllDown::Auto), expected, "{candidates:#?}");
    }
    assert_eq!(signs(&[local(up()), up()], Prefer::None, OnAllDown::Auto), "++");
}

#[test]
fn each_backend_says_why_it_is_in_or_out() {
    let why = |candidates: &[Candidate], prefer, on_all_down| -> Vec<String> {
        serving(candidates, prefer, on_all_down).iter().map(ToString::to_string).collect()
    };
    let auto = |candidates: &[Candidate]| why(candidates, Prefer::None, OnAllDown::Auto);
    let drained = Candidate { admin: Admin::Draining, ..up() };
    let disabled = Candidate { admin: Admin::Disabled, ..up() };
    let weightless = Candidate { weight: 0, ..up() };
    assert_eq!(
        auto(&[up(), drained, disabled, weightless, dead(), newcomer(Health::Dead), adopted()]),
        [
            "up",
            "draining by operator",
            "disabled by operator",
            "weight 0",
            "dead",
            "dead, never seen up",
            "kept: taken over, no verdict yet",
        ]
    );
    assert_eq!(auto(&[suspect(), unready()]), ["kept: suspect, but no backend is up", "notReady"]);
    assert_eq!(auto(&[hung(), dead()]), ["kept: all backends are down (onAllDown: auto)", "dead"]);
    assert_eq!(
        why(&[dead()], Prefer::None, OnAllDown::All),
        ["kept: all backends are down (onAllDown: all)"]
    );
    assert_eq!(
        why(&[local(up()), up(), adopted()], Prefer::Local, OnAllDown::Auto),
        ["up, local backend goes first", "local backend goes first", "local backend goes first"]
    );
}

#[test]
fn connections_are_ended_only_when_their_backend_is_dead_or_disabled() {
    let ends = |candidate: Candidate, on_down| {
        let standing = serving(&[candidate, up()], Prefer::None, OnAllDown::Auto)[0];
        ends_connections(&candidate, standing, on_down)
    };
    let with = |admin, health| Candidate { admin, ..seasoned(health) };
    for health in HEALTHS.iter().copied() {
        let is_dead = health == Health::Dead;
        assert_eq!(ends(with(Admin::Active, health), OnDown::Reset), is_dead, "active, {health}");
        assert_eq!(ends(with(Admin::Draining, health), OnDown::Reset), is_dead, "draining, {health}");
        assert!(ends(with(Admin::Disabled, health), OnDown::Reset), "disabled, {health}");
        for admin in Admin::ALL.iter().copied() {
            assert!(!ends(with(admin, health), OnDown::Keep), "{admin}, {health}");
        }
    }
}

#[test]
fn a_dead_backend_that_is_kept_for_want_of_others_keeps_its_connections() {
    let standing = serving(&[hung(), dead()], Prefer::None, OnAllDown::Auto);
    assert!(!ends_connections(&hung(), standing[0], OnDown::Reset));
    assert!(ends_connections(&dead(), standing[1], OnDown::Reset));
}

fn candidates() -> impl Strategy<Value = Candidate> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (select(HEALTHS), select(Admin::ALL), 0u16..3, flags).prop_map(|(health, admin, weight, flags)| {
        let (adopted, ever_up, accepts_tcp, trusted, local) = flags;
        Candidate { weight, admin, health, adopted, ever_up, accepts_tcp, trusted, local, ..up() }
    })
}

proptest! {
    #[test]
    fn nobody_serves_against_the_rules(
        candidates in vec(candidates(), 0..10),
        prefer in select(Prefer::ALL), on_all_down in select(OnAllDown::ALL),
    ) {
        let standings = serving(&candidates, prefer, on_all_down);
        prop_assert_eq!(standings.len(), candidates.len());
        let first = |c: &Candidate| {
            c.admin == Admin::Active
                && c.weight > 0
                && (c.health == Health::Up || (c.health == Health::Unknown && c.adopted))
        };
        let any_first = candidates.iter().any(first);
        let served = standings.iter().any(|s| s.is_serving());
        prop_assert!(served || !any_first, "somebody is up, and nobody serves");
        for (c, standing) in candidates.iter().zip(&standings).filter(|(_, s)| s.is_serving()) {
            prop_assert!(c.admin == Admin::Active && c.weight > 0, "{c:?}: {standing}");
            prop_assert!(first(c) || !any_first, "{c:?} serves beside one that is up");
            let known = c.ever_up || c.adopted || c.health == Health::Up;
            prop_assert!(known || on_all_down == OnAllDown::All, "{c:?} was never up");
            let ends = ends_connections(c, *standing, OnDown::Reset);
            prop_assert!(!ends, "{c:?} takes new connections and loses the old ones");
        }
    }

    #[test]
    fn the_order_of_the_backends_makes_no_difference(
        (sorted, shuffled) in vec(candidates(), 0..10).prop_flat_map(|all| {
            let tagged: Vec<_> = all.into_iter().enumerate().collect();
            (Just(tagged.clone()), Just(tagged).prop_shuffle())
        }),
        prefer in select(Prefer::ALL), on_all_down in select(OnAllDown::ALL),
    ) {
        let decide = |tagged: &[(usize, Candidate)]| {
            let plain: Vec<_> = tagged.iter().map(|(_, c)| *c).collect();
            let mut out: Vec<_> =
                tagged.iter().map(|(i, _)| *i).zip(serving(&plain, prefer, on_all_down)).collect();
            out.sort_by_key(|(i, _)| *i);
            out
        };
        prop_assert_eq!(decide(&sorted), decide(&shuffled));
    }

    #[test]
    fn when_all_are_slow_all_serve(
        locals in vec(any::<bool>(), 1..10),
        prefer in select(Prefer::ALL), on_all_down in select(OnAllDown::ALL),
    ) {
        let all: Vec<_> = locals.iter().map(|is_local| Candidate { local: *is_local, ..suspect() }).collect();
        let standings = serving(&all, prefer, on_all_down);
        prop_assert!(standings.iter().all(|s| s.is_serving()));
    }
}
