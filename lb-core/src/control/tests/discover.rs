//! What the cluster's own list of apiservers changes.

use super::*;
use crate::model::Source;

const SEED: &str = "10.0.0.1:6443";
const SECOND: &str = "10.0.0.2:6443";
const THIRD: &str = "10.0.0.3:6443";

fn following() -> Arc<Config> {
    let text = format!(
        "services: [{{name: apiserver, vip: '10.0.0.100:6443', backends: ['{SEED}'], discovery: {{kubernetes: {{}}}}}}]"
    );
    Arc::new(config::load(Some(("test", &text)), &Overrides::default()).unwrap())
}

fn begin() -> Bench {
    let mut bench = Bench::resume(following(), &State::default(), &Adopted::default());
    bench.answer(SEED, &READY, 1);
    bench
}

fn list(bench: &mut Bench, addresses: &[&str]) {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    bench.event(Event::Listed { service: "apiserver".parse().unwrap(), addresses });
}

fn shown(bench: &Bench) -> Vec<(String, Source)> {
    let services = bench.controller.services(bench.now, crate::model::DataplaneKind::Socket.into());
    services[0].backends.iter().map(|backend| (backend.address.to_string(), backend.source)).collect()
}

#[test]
fn a_master_that_the_cluster_lists_serves_once_it_answers() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    assert_eq!(bench.serving(), [SEED], "nobody has seen it up");
    bench.answer(SECOND, &READY, 1);
    assert_eq!(bench.serving(), [SEED, SECOND]);
    assert_eq!(shown(&bench), [(SEED.into(), Source::Config), (SECOND.into(), Source::Discovery)]);
}

#[test]
fn a_master_that_is_not_listed_any_more_leaves() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    bench.answer(SECOND, &READY, 1);
    list(&mut bench, &[SEED]);
    assert_eq!(bench.serving(), [SEED]);
    assert_eq!(shown(&bench), [(SEED.into(), Source::Config)]);
    assert_eq!(bench.evicted, [], "its connections end with it, or when it dies");
}

#[test]
fn one_of_the_config_that_is_not_listed_stands_by() {
    let mut bench = begin();
    list(&mut bench, &[SECOND]);
    assert_eq!(bench.serving(), [SEED], "the listed one has not answered yet");
    bench.answer(SECOND, &READY, 1);
    assert_eq!(bench.serving(), [SECOND]);
    bench.answer(SEED, &READY, 1);
    assert_eq!(bench.serving(), [SECOND]);
    bench.answer(SECOND, &REFUSED, 3);
    assert_eq!(bench.serving(), [SEED], "a wrong list locks nobody out");
}

#[test]
fn an_empty_list_and_one_of_strangers_change_nothing() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    bench.answer(SECOND, &READY, 1);
    for useless in [&[][..], &["[fd00::1]:6443"], &["10.0.0.100:6443"]] {
        list(&mut bench, useless);
        assert_eq!(bench.serving(), [SEED, SECOND], "{useless:?}");
        assert_eq!(bench.controller.ignored().count(), 1, "{useless:?}: status says so");
    }
    list(&mut bench, &[SEED, SECOND]);
    assert_eq!(bench.controller.ignored().count(), 0);
}

#[test]
fn what_was_listed_is_known_after_a_restart_before_anybody_can_be_asked() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    bench.answer(SECOND, &READY, 1);
    let mut bench = Bench::resume(following(), &bench.kept, &Adopted::default());
    bench.answer(SEED, &REFUSED, 3);
    bench.answer(SECOND, &READY, 1);
    assert_eq!(bench.serving(), [SECOND]);
}

#[test]
fn a_stale_memory_does_not_keep_the_config_s_masters_from_serving() {
    let mut stale = State::default();
    let long_ago = (THIRD.parse().unwrap(), jiff::Timestamp::UNIX_EPOCH);
    stale.listed.insert("apiserver".parse().unwrap(), [long_ago].into());
    let mut bench = Bench::resume(following(), &stale, &Adopted::default());
    bench.answer(SEED, &READY, 1);
    assert_eq!(bench.serving(), [SEED]);
}

#[test]
fn when_nobody_is_up_those_that_were_listed_lately_are_tried_too() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    bench.answer(SECOND, &READY, 1);
    list(&mut bench, &[SEED]);
    bench.event(Event::Counted(BTreeMap::new()));
    assert!(bench.stopped.contains(&key(SECOND)));
    bench.answer(SEED, &REFUSED, 3);
    bench.answer(SECOND, &READY, 2);
    assert_eq!(bench.serving(), [SECOND]);
    list(&mut bench, &[SECOND]);
    assert_eq!(bench.serving(), [SECOND]);
}

#[test]
fn a_master_that_an_operator_has_removed_stays_away() {
    let mut bench = begin();
    list(&mut bench, &[SEED, SECOND]);
    let request = OperatorRequest::Remove { service: None, address: SECOND.parse().unwrap() };
    bench.event(Event::Operator { request, ticket: 1 });
    list(&mut bench, &[SEED, SECOND, THIRD]);
    assert_eq!(
        shown(&bench).into_iter().map(|(address, _)| address).collect::<Vec<_>>(),
        [SEED.to_owned(), THIRD.to_owned()]
    );
}

#[test]
fn without_discovery_in_the_config_a_list_says_nothing() {
    let mut bench = Bench::new(&[SEED]);
    bench.answer(SEED, &READY, 1);
    list(&mut bench, &[SECOND]);
    assert_eq!(shown(&bench), [(SEED.into(), Source::Config)]);
}
