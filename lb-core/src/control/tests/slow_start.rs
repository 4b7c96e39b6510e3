//! Backends that are back and get their share bit by bit.

use super::*;

fn weights(bench: &Bench) -> Vec<u32> {
    bench.programmed.services[0].serving.iter().map(|backend| backend.weight).collect()
}

#[test]
fn with_slow_start_who_is_back_gets_its_share_bit_by_bit() {
    let backends = THREE.map(|backend| format!("'{backend}'")).join(", ");
    let text = format!(
        "services: [{{name: apiserver, vip: '10.0.0.100:6443', slowStart: 30s, backends: [{backends}]}}]"
    );
    let config = Arc::new(config::load(Some(("test", &text)), &Overrides::default()).unwrap());
    let mut bench = Bench::resume(config, &State::default(), &Adopted::default());
    THREE.iter().for_each(|backend| bench.answer(backend, &READY, 1));
    assert_eq!(weights(&bench), [1, 1, 1], "who begins is not back");
    bench.answer(THREE[0], &REFUSED, 3);
    assert_eq!(weights(&bench), [1, 1]);
    bench.answer(THREE[0], &READY, 2);
    assert_eq!(weights(&bench), [1, 10, 10]);
    let mut seen: Vec<u32> = Vec::new();
    for _ in 0..40 {
        seen.extend(weights(&bench).first());
        bench.pass(Duration::from_secs(1));
        THREE.iter().for_each(|backend| {
            if bench.under_way.contains_key(&key(backend)) {
                bench.answer(backend, &READY, 1);
            }
        });
    }
    seen.dedup();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1], "at last all are alike again");
    assert_eq!(weights(&bench), [1, 1, 1]);
}
