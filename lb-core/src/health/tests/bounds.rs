//! How long it takes to notice: for any check, at any phase of the probing.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::{super::*, world::*, *};

/// How a backend is gone.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing comes back, ever.
    Silence,
    /// Refused after a share of the timeout.
    Refusal(f64),
    /// Now this, now that.
    Mixture(f64),
}

fn faults() -> impl Strategy<Value = Fault> {
    let share = || prop_oneof![Just(0.0), Just(1.0), 0.0f64..=1.0];
    prop_oneof![Just(Fault::Silence), share().prop_map(Fault::Refusal), share().prop_map(Fault::Mixture)]
}

fn bound(check: &HealthCheck) -> Duration {
    check.interval * check.fall.get() + check.timeout
}

/// What a probe gets that starts at `at` from a backend with latencies of `shares`, gone from `fault_at` on.
fn failing(
    check: &HealthCheck,
    shares: &[f64],
    (fault, fault_at): (Fault, Duration),
    at: Duration,
) -> (Duration, ProbeOutcome) {
    if at < fault_at {
        let (took, answer) = slow(check, shares, at);
        return if at + took <= fault_at { (took, answer) } else { (check.timeout, timed_out()) };
    }
    let refusal = |share| (check.timeout.mul_f64(share).min(check.timeout), refused());
    match fault {
        Fault::Silence => (check.timeout, timed_out()),
        Fault::Refusal(share) => refusal(share),
        Fault::Mixture(share) if at.as_micros().is_multiple_of(2) => refusal(share),
        Fault::Mixture(_) => (check.timeout, timed_out()),
    }
}

fn machine(check: &HealthCheck, seed: u64) -> World {
    World::new(|now| Machine::new(check, now, seed))
}

fn shares() -> impl Strategy<Value = Vec<f64>> {
    vec(prop_oneof![3 => 0.0f64..0.1, 1 => 0.0f64..=1.0, 1 => Just(1.0)], 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_fault_is_noticed_within_fall_intervals_and_one_timeout(
        check in checks(), seed: u64, shares in shares(), fault in faults(), phase in 1.0f64..6.0,
        lost in any::<bool>(),
    ) {
        let mut world = machine(&check, seed);
        let fault_at = check.timeout + check.interval.mul_f64(phase);
        if lost {
            world.lose_connection_at(fault_at);
        }
        let mut backend = |at| failing(&check, &shares, (fault, fault_at), at);
        world.run(fault_at + bound(&check) * 2, &mut backend, Some(Health::Dead));
        let (at, verdict) = *world.verdicts.last().unwrap();
        prop_assert_eq!(verdict, Health::Dead);
        prop_assert!(at >= fault_at);
        prop_assert!(at - fault_at <= bound(&check), "{:?} > {:?}", at - fault_at, bound(&check));
    }

    #[test]
    fn a_longer_dead_after_is_waited_for_exactly(
        check in checks(), seed: u64, extra in 1u64..20_000, phase in 1.0f64..6.0,
    ) {
        let check = HealthCheck { dead_after: bound(&check) + ms(extra), ..check };
        let mut world = machine(&check, seed);
        let fault_at = check.timeout + check.interval.mul_f64(phase);
        let mut answered = Duration::ZERO;
        let mut backend = |at| {
            let (took, outcome) = failing(&check, &[0.0], (Fault::Silence, fault_at), at);
            if matches!(outcome, ProbeOutcome::Ready { .. }) {
                answered = at + took;
            }
            (took, outcome)
        };
        world.run(fault_at + check.dead_after * 2, &mut backend, Some(Health::Dead));
        let (at, verdict) = *world.verdicts.last().unwrap();
        prop_assert_eq!((at, verdict), (answered + check.dead_after, Health::Dead));
    }

    #[test]
    fn a_crash_that_closes_the_kept_connection_is_noticed_within_100_ms(
        check in checks(), seed: u64, fall in 1u32..=5, phase in 1.0f64..6.0, rtt in 0u64..=3,
    ) {
        let check = HealthCheck { fall: count(fall), ..check };
        let rtt = ms(rtt).min(check.timeout);
        let mut world = machine(&check, seed);
        let fault_at = check.timeout + check.interval.mul_f64(phase);
        world.lose_connection_at(fault_at);
        // A probe under way gets the reset as well.
        let mut backend = |at: Duration| {
            let answer = (rtt, ProbeOutcome::Ready { latency: rtt });
            if at < fault_at && at + rtt <= fault_at { answer } else { (rtt, refused()) }
        };
        world.run(fault_at + bound(&check) * 2, &mut backend, Some(Health::Dead));
        let (at, verdict) = *world.verdicts.last().unwrap();
        prop_assert_eq!(verdict, Health::Dead);
        prop_assert!(at - fault_at <= ms(100), "{:?}", at - fault_at);
    }

    #[test]
    fn a_recovered_backend_is_up_within_rise_intervals_and_one_timeout(
        check in checks(), seed: u64, shares in shares(), fault in faults(), phase in 1.0f64..6.0, down in 1.0f64..9.0,
    ) {
        let mut world = machine(&check, seed);
        let fault_at = check.timeout + check.interval.mul_f64(phase);
        let mut backend = |at| failing(&check, &shares, (fault, fault_at), at);
        world.run(fault_at + bound(&check).mul_f64(down), &mut backend, None);
        prop_assert_eq!(world.machine.health(), Health::Dead);
        let healthy_at = fault_at + bound(&check).mul_f64(down);
        world.run(healthy_at + bound(&check) * 9, &mut |at| slow(&check, &shares, at), Some(Health::Up));
        let (at, verdict) = *world.verdicts.last().unwrap();
        prop_assert_eq!(verdict, Health::Up);
        let allowed = check.interval * check.rise.get() + check.timeout;
        prop_assert!(at - healthy_at <= allowed, "{:?} > {:?}", at - healthy_at, allowed);
    }

    #[test]
    fn the_first_master_of_a_cluster_is_noticed_within_a_second(
        check in checks(), seed: u64, born in 1u64..20_000, hangs in any::<bool>(),
    ) {
        let check = HealthCheck { timeout: check.timeout.min(ms(900)), ..check };
        let mut world = machine(&check, seed);
        let born = ms(born);
        let mut backend = |at| match (at >= born, hangs) {
            (true, _) => (ms(1), ready()),
            (false, true) => (check.timeout, timed_out()),
            (false, false) => (ms(1), refused()),
        };
        world.run(born + ms(5000), &mut backend, Some(Health::Up));
        let (at, verdict) = *world.verdicts.last().unwrap();
        prop_assert_eq!(verdict, Health::Up);
        prop_assert!(at - born <= ms(1000), "{:?}", at - born);
    }
}
