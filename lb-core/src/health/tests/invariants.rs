//! What holds after every event, whatever the sequence.

use proptest::{collection::vec, prelude::*};

use super::{super::*, world::*, *};

#[derive(Clone, Debug)]
enum Step {
    /// The next probe ends this share of the timeout after its start.
    Probe(f64, ProbeOutcome),
    /// The kept connection is lost this share of the way to the next probe.
    Lost(f64),
    /// The configuration is reloaded.
    Retune(HealthCheck),
}

fn outcomes() -> impl Strategy<Value = ProbeOutcome> {
    let failure = prop_oneof![
        3 => Just(REFUSED),
        6 => Just(TIMEOUT),
        1 => Just(Failure::Timeout(Phase::Connect)),
        1 => Just(Failure::Reset(Phase::Request)),
        1 => Just(Failure::Certificate("unknown issuer".into())),
    ];
    prop_oneof![
        3 => Just(ready()),
        2 => Just(not_ready()),
        6 => failure.prop_map(ProbeOutcome::Failed),
        1 => Just(inconclusive()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0.0f64..=1.0, outcomes()).prop_map(|(share, outcome)| Step::Probe(share, outcome)),
        2 => (0.0f64..=1.0).prop_map(Step::Lost),
        1 => checks().prop_map(Step::Retune),
    ];
    vec(step, 1..120)
}

/// What a plain reading of the rules remembers.
struct Witness {
    successes: u32,
    failures: u32,
    established: bool,
    answered: Instant,
}

/// Holds one transition against the rules.
fn judge(seen: &Witness, check: &HealthCheck, now: Instant, t: &Transition, outcome: Option<&ProbeOutcome>) {
    let rise = if seen.established { check.rise.get() } else { 1 };
    match t.to {
        Health::Unknown => panic!("nothing leads back to unknown"),
        Health::Up => {
            assert!(matches!(outcome, Some(ProbeOutcome::Ready { .. })), "{t:?} without an answer");
            if matches!(t.from, Health::Dead | Health::NotReady) {
                assert!(seen.successes >= rise, "{t:?} after {} successes", seen.successes);
            }
        }
        Health::Suspect => assert!(matches!(t.from, Health::Up | Health::Unknown), "{t:?}"),
        Health::NotReady => assert!(matches!(outcome, Some(ProbeOutcome::NotReady { .. })), "{t:?}"),
        Health::Dead if !seen.established && t.from == Health::Unknown => {}
        Health::Dead => {
            assert!(seen.failures >= check.fall.get(), "{t:?} after {} failures", seen.failures);
            let prompt = matches!(outcome, Some(ProbeOutcome::Failed(why)) if why.is_prompt());
            assert!(prompt || now - seen.answered >= check.dead_after, "{t:?} too early");
        }
    }
    assert!(!t.reason.is_empty());
}

impl Witness {
    fn note(&mut self, now: Instant, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Ready { .. } | ProbeOutcome::Denied { .. } => {
                (self.successes, self.failures) = (self.successes + 1, 0)
            }
            ProbeOutcome::NotReady { .. } => (self.successes, self.failures) = (0, 0),
            ProbeOutcome::Failed(_) => (self.successes, self.failures) = (0, self.failures + 1),
            ProbeOutcome::Inconclusive { .. } => {}
        }
        if matches!(
            outcome,
            ProbeOutcome::Ready { .. } | ProbeOutcome::Denied { .. } | ProbeOutcome::NotReady { .. }
        ) {
            self.answered = now;
        }
    }
}

fn probe(
    (machine, seen): (&mut Machine, &mut Witness),
    check: &HealthCheck,
    now: &mut Instant,
    (share, outcome): (f64, &ProbeOutcome),
) {
    let due = machine.next_probe().unwrap();
    assert!(
        due.saturating_duration_since(*now) <= check.interval,
        "the next probe is further than an interval"
    );
    let start = due.max(*now);
    if let Some(at) = machine.verdict_due().filter(|at| *at <= start) {
        *now = at.max(*now);
        let verdict = machine.expire(*now).expect("a verdict that is due is given");
        judge(seen, check, *now, &verdict, None);
    }
    machine.probe_started(start);
    assert_eq!(machine.next_probe(), None, "one probe at a time");
    *now = start + check.timeout.mul_f64(share);
    seen.note(*now, outcome);
    let established = seen.established;
    if let Some(t) = machine.probed(*now, outcome) {
        judge(seen, check, *now, &t, Some(outcome));
        assert_eq!(t.to, machine.health());
        seen.established |= t.to == Health::Up;
    }
    assert!(established <= (machine.ever_up() || machine.is_adopted()), "what was up stays known");
    assert_eq!(machine.failures(), seen.failures);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_rules_hold_after_any_sequence(check in checks(), seed: u64, adopted: bool, steps in steps()) {
        let mut now = Instant::now();
        let new = if adopted { Machine::adopted } else { Machine::new };
        let mut machine = new(&check, now, seed);
        let mut seen = Witness { successes: 0, failures: 0, established: adopted, answered: now };
        let mut check = check;
        for step in &steps {
            match step {
                Step::Probe(share, outcome) => {
                    probe((&mut machine, &mut seen), &check, &mut now, (*share, outcome));
                }
                Step::Lost(share) => {
                    let rest = machine.next_probe().unwrap().saturating_duration_since(now);
                    now += rest.mul_f64(*share);
                    machine.connection_lost(now, &REFUSED);
                }
                Step::Retune(new) => {
                    let before = machine.health();
                    machine.retune(new, now);
                    prop_assert_eq!(machine.health(), before);
                    check = new.clone();
                }
            }
        }
    }

    #[test]
    fn a_backend_that_answers_in_time_is_never_in_doubt(
        check in checks(), seed: u64, shares in vec(prop_oneof![0.0f64..=1.0, Just(1.0)], 1..5),
        lost in vec(0.0f64..20.0, 0..10),
    ) {
        let mut world = World::new(|now| Machine::new(&check, now, seed));
        for at in lost {
            world.lose_connection_at(check.interval.mul_f64(at));
        }
        world.run(check.interval * 20, &mut |at| slow(&check, &shares, at), None);
        let verdicts: Vec<_> = world.verdicts.iter().map(|(_, health)| *health).collect();
        prop_assert_eq!(verdicts, [Health::Up]);
    }

    #[test]
    fn a_backend_that_closes_after_each_answer_is_not_flooded_with_probes(check in checks(), seed: u64) {
        let now = Instant::now();
        let mut machine = Machine::new(&check, now, seed);
        let (intervals, mut probes) = (20, 0);
        while let Some(at) = machine.next_probe().filter(|at| *at <= now + check.interval * intervals) {
            probes += 1;
            machine.probe_started(at);
            machine.probed(at, &ready());
            machine.connection_lost(at, &Failure::Closed(Phase::Idle));
        }
        prop_assert!(probes <= 2 * intervals + 10, "{probes} probes in {intervals} intervals");
    }

    #[test]
    fn probes_of_a_silent_backend_keep_their_distance(check in checks(), seed: u64) {
        let mut world = World::new(|now| Machine::adopted(&check, now, seed));
        world.run(check.interval * 20, &mut |_| (check.timeout, timed_out()), None);
        let least = check.interval.mul_f64(0.9).min(check.timeout.max(ms(100)));
        for pair in world.starts.windows(2) {
            prop_assert!(pair[1] - pair[0] >= least.min(check.interval), "{:?}", pair[1] - pair[0]);
        }
    }
}
