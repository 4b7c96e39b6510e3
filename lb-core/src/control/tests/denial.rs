use super::*;

const DENIED: ProbeOutcome = ProbeOutcome::Denied { latency: Duration::from_millis(1), status: 403 };

fn health(bench: &Bench, address: &str) -> Health {
    bench.controller.backends[&key(address)].machine.health()
}

#[test]
fn where_all_refuse_anonymous_requests_they_are_up() {
    let mut bench = Bench::new(&THREE);
    THREE.iter().for_each(|backend| bench.answer(backend, &DENIED, 1));
    assert_eq!(bench.serving(), THREE);
}

#[test]
fn an_apiserver_that_has_just_started_is_not_up_before_it_knows_who_may_do_what() {
    let mut bench = Bench::all_up(&THREE);
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(health(&bench, THREE[0]), Health::Dead);
    bench.answer(THREE[0], &DENIED, 4);
    assert_eq!(health(&bench, THREE[0]), Health::NotReady);
    assert_eq!(bench.serving(), THREE[1..]);
    bench.answer(THREE[0], &READY, 2);
    assert_eq!(bench.serving(), THREE);
}

#[test]
fn one_that_is_new_is_measured_by_the_others() {
    let mut bench = Bench::new(&THREE);
    bench.answer(THREE[1], &READY, 1);
    bench.answer(THREE[0], &DENIED, 2);
    assert_eq!(bench.serving(), [THREE[1]]);
}

#[test]
fn who_goes_on_refusing_does_so_on_purpose() {
    let mut bench = Bench::all_up(&THREE);
    // Somebody has taken the permission away, from all of them at once. Meanwhile nobody is cut off.
    for _ in 0..20 {
        THREE.iter().for_each(|backend| bench.answer(backend, &DENIED, 1));
        assert_eq!(bench.serving(), THREE);
    }
    assert!(THREE.iter().all(|backend| health(&bench, backend) == Health::Up));
}
