use std::collections::BTreeMap;

use lb_core::{
    desired::{DesiredBackend, DesiredService, DesiredState},
    model::{Policy, Scope},
};

use super::{
    super::native::{Forwarding, Intake, lower},
    *,
};

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, n], 6443))
}

fn service(vip: u8, serving: &[(u8, u32)], members: &[u8], severed: &[u8]) -> DesiredService {
    DesiredService {
        name: "apiserver".parse().unwrap(),
        vip: at(vip),
        policy: Policy::Random,
        serving: serving
            .iter()
            .map(|(n, weight)| DesiredBackend { address: at(*n), weight: *weight })
            .collect(),
        members: members.iter().map(|n| at(*n)).collect(),
        reserve: BTreeSet::new(),
        severed: severed.iter().map(|n| at(*n)).collect(),
    }
}

fn wanted(services: impl IntoIterator<Item = DesiredService>) -> IpvsState {
    lower(&DesiredState { services: services.into_iter().collect() }, Scope::Host, Intake::Open)
}

/// What is observed when everything is as it should be.
fn seen(services: impl IntoIterator<Item = DesiredService>) -> IpvsState {
    let mut state = wanted(services);
    let source = at(9).ip();
    state.routes.values_mut().for_each(|route| *route = Some(source));
    state.sources = state.routes.keys().map(|ip| (*ip, vec![source])).collect();
    state
}

fn simple(vip: u8) -> DesiredService {
    service(vip, &[(1, 1)], &[1, 2], &[])
}

#[test]
fn members_that_do_not_serve_have_weight_0_and_severed_ones_are_no_destinations() {
    let state = wanted([service(100, &[(1, 5)], &[1, 2, 3], &[3])]);
    let weights: Vec<_> = state.services[&at(100)].destinations.iter().map(|(a, d)| (*a, d.weight)).collect();
    assert_eq!(weights, [(at(1), 5), (at(2), 0)]);
}

#[test]
fn a_dataplane_that_is_left_takes_nobody_but_keeps_its_destinations() {
    let desired = DesiredState { services: vec![service(100, &[(1, 5)], &[1, 2], &[])] };
    let state = lower(&desired, Scope::Host, Intake::Closed);
    assert!(state.services[&at(100)].destinations.values().all(|d| d.weight == 0));
    assert_eq!(state.services[&at(100)].destinations.len(), 2);
}

#[test]
fn what_is_as_it_should_be_needs_no_change() {
    assert_eq!(diff(&seen([simple(100)]), &wanted([simple(100)])), []);
    assert_eq!(diff(&IpvsState::default(), &wanted([])), []);
}

#[test]
fn a_service_is_marked_before_it_is_made_and_made_before_its_route() {
    let changes = diff(&IpvsState::default(), &wanted([simple(100)]));
    assert!(
        matches!(
            &changes[..],
            [Change::SetTable(table), Change::AddService(vip, _), Change::SetRoute(_, None)]
                if table.vips.contains(&at(100)) && *vip == at(100)
        ),
        "settings that the kernel does not have are left out: {changes:?}"
    );
}

#[test]
fn a_mark_goes_after_the_service_that_it_marks() {
    let changes = diff(&seen([simple(100)]), &wanted([simple(101)]));
    assert!(
        matches!(
            &changes[..],
            [
                Change::SetTable(both),
                Change::AddService(..),
                Change::SetRoute(new, _),
                Change::RemoveService(old),
                Change::RemoveRoute(ip),
                Change::SetTable(one),
            ] if both.vips == [at(100), at(101)].into()
                && *new == at(101) && *old == at(100) && *ip == at(100).ip()
                && one.vips == [at(101)].into()
        ),
        "{changes:?}"
    );
}

#[test]
fn nothing_wanted_takes_everything_away() {
    let changes = diff(&seen([simple(100)]), &wanted([]));
    assert_eq!(
        changes,
        [Change::RemoveService(at(100)), Change::RemoveRoute(at(100).ip()), Change::RemoveTable]
    );
}

#[test]
fn a_service_whose_last_backend_goes_is_refused_until_one_is_back() {
    let nobody = DesiredService { serving: [].into(), ..simple(100) };
    for (before, after, refused) in [(simple(100), nobody.clone(), true), (nobody, simple(100), false)] {
        let changes = diff(&seen([before]), &wanted([after]));
        assert!(
            matches!(
                &changes[..],
                [Change::SetTable(table), Change::SetDestination(..) | Change::AddDestination(..)]
                    if table.refused.contains(&at(100)) == refused
            ),
            "{changes:?}"
        );
    }
}

#[test]
fn the_marks_of_a_damaged_table_are_enough_to_remove_it() {
    let damaged = IpvsState { marks: [at(100)].into(), ..IpvsState::default() };
    assert_eq!(diff(&damaged, &wanted([])), [Change::RemoveTable]);
}

#[test]
fn a_damaged_table_is_replaced() {
    let damaged = IpvsState { table: None, ..seen([simple(100)]) };
    assert!(matches!(diff(&damaged, &wanted([simple(100)]))[..], [Change::SetTable(_)]));
}

#[test]
fn destinations_come_and_grow_before_others_shrink_and_go() {
    let old = seen([service(100, &[(1, 4), (2, 1), (3, 1)], &[], &[])]);
    let changes = diff(&old, &wanted([service(100, &[(1, 1), (2, 4), (4, 1)], &[], &[])]));
    assert_eq!(
        changes,
        [
            Change::SetDestination(at(100), at(2), Destination::serving(4)),
            Change::AddDestination(at(100), at(4), Destination::serving(1)),
            Change::SetDestination(at(100), at(1), Destination::serving(1)),
            Change::RemoveDestination(at(100), at(3)),
        ]
    );
}

#[test]
fn a_destination_that_somebody_forwards_in_another_way_is_put_right() {
    let mut odd = seen([simple(100)]);
    let destinations = &mut odd.services.get_mut(&at(100)).unwrap().destinations;
    destinations.get_mut(&at(1)).unwrap().forwarding = Forwarding::Other;
    assert_eq!(
        diff(&odd, &wanted([simple(100)])),
        [Change::SetDestination(at(100), at(1), Destination::serving(1))]
    );
}

#[test]
fn another_scheduler_is_put_right() {
    let mut odd = seen([simple(100)]);
    odd.services.get_mut(&at(100)).unwrap().scheduling = Scheduling::of(Policy::Sticky);
    assert_eq!(
        diff(&odd, &wanted([simple(100)])),
        [Change::SetScheduling(at(100), Scheduling::of(Policy::Random))]
    );
}

#[test]
fn another_programs_service_is_refused_and_neither_marked_nor_routed() {
    let foreign = seen([service(100, &[(7, 1)], &[7], &[])]).services;
    let observed = IpvsState { foreign: foreign.clone(), ..IpvsState::default() };
    let changes = diff(&observed, &wanted([simple(100)]));
    assert_eq!(changes, [Change::Refuse(at(100), foreign[&at(100)].clone())]);
    let changes = diff(&observed, &wanted([simple(100), simple(101)]));
    let about: Vec<_> = changes.iter().filter(|change| change.subject() == Some(at(100))).collect();
    assert_eq!(about.len(), 1, "{changes:?}");
    assert!(
        changes.iter().all(|change| !matches!(change, Change::SetTable(t) if t.vips.contains(&at(100)))),
        "{changes:?}"
    );
}

#[test]
fn a_source_that_is_still_good_stays_and_one_that_is_not_is_replaced() {
    let good = at(9).ip();
    let better = at(8).ip();
    for (sources, changes) in [
        (vec![better, good], vec![]),
        (vec![better], vec![Change::SetRoute(at(100), Some(better))]),
        (vec![], vec![]),
    ] {
        let mut observed = seen([simple(100)]);
        observed.sources = BTreeMap::from([(at(100).ip(), sources)]);
        assert_eq!(diff(&observed, &wanted([simple(100)])), changes);
    }
}

#[test]
fn two_ports_of_one_address_share_its_route() {
    let mut other = simple(100);
    other.vip.set_port(443);
    let changes = diff(&IpvsState::default(), &wanted([simple(100), other.clone()]));
    assert_eq!(changes.iter().filter(|change| matches!(change, Change::SetRoute(..))).count(), 1);
    let changes = diff(&seen([simple(100), other]), &wanted([simple(100)]));
    assert!(!changes.iter().any(|change| matches!(change, Change::RemoveRoute(_))), "{changes:?}");
}

#[test]
fn settings_that_differ_come_last() {
    let mut observed = seen([simple(100)]);
    observed.services.clear();
    let sysctl = *observed.sysctls.keys().next().unwrap();
    let value = observed.sysctls.insert(sysctl, 7).unwrap();
    let changes = diff(&observed, &wanted([simple(100)]));
    assert_eq!(changes.last(), Some(&Change::SetSysctl(sysctl, value)));
}
