//! A virtual clock: one machine, one backend, and whatever befalls the backend.

use std::time::Instant;

use proptest::prelude::*;

use super::{super::*, *};

/// What a backend does with a probe that starts at an offset: how long it takes, and what comes of it. It never
/// takes longer than the timeout.
pub(super) type Backend<'a> = dyn FnMut(Duration) -> (Duration, ProbeOutcome) + 'a;

/// Where the virtual time is, and what has been seen.
pub(super) struct World {
    pub(super) machine: Machine,
    epoch: Instant,
    now: Duration,
    pub(super) starts: Vec<Duration>,
    /// The health after each transition, with its time.
    pub(super) verdicts: Vec<(Duration, Health)>,
    under_way: Option<(Duration, ProbeOutcome)>,
    losses: Vec<Duration>,
}

impl World {
    pub(super) fn new(machine: impl FnOnce(Instant) -> Machine) -> Self {
        let epoch = Instant::now();
        Self {
            machine: machine(epoch),
            epoch,
            now: Duration::ZERO,
            starts: Vec::new(),
            verdicts: Vec::new(),
            under_way: None,
            losses: Vec::new(),
        }
    }

    /// The kept connection will be lost then.
    pub(super) fn lose_connection_at(&mut self, at: Duration) {
        self.losses.push(at);
    }

    /// Lets time pass until `end` or until a verdict is `wanted`.
    pub(super) fn run(&mut self, end: Duration, backend: &mut Backend<'_>, wanted: Option<Health>) {
        loop {
            let at = self.next_event();
            if at > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            if let Some(transition) = self.step(backend) {
                assert_ne!(transition.from, transition.to);
                assert_eq!(transition.to, self.machine.health());
                self.verdicts.push((self.now, transition.to));
                if wanted == Some(transition.to) {
                    return;
                }
            }
        }
    }

    fn next_event(&self) -> Duration {
        let offset = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(self.epoch));
        let probe = offset(self.machine.next_probe());
        let answer = self.under_way.as_ref().map(|(at, _)| *at);
        assert!(
            probe.is_some() != answer.is_some(),
            "either a probe is under way or the next one has its time"
        );
        let verdict = offset(self.machine.verdict_due());
        let loss = self.losses.iter().min().copied();
        [probe, answer, verdict, loss].into_iter().flatten().min().unwrap()
    }

    fn step(&mut self, backend: &mut Backend<'_>) -> Option<Transition> {
        let now = self.epoch + self.now;
        if let Some(lost) = self.losses.iter().position(|at| *at <= self.now) {
            self.losses.swap_remove(lost);
            self.machine.connection_lost(now, &Failure::Closed(Phase::Idle));
        }
        let due = self.machine.verdict_due().is_some_and(|at| at <= now);
        let verdict = self.machine.expire(now);
        assert_eq!(verdict.is_some(), due, "a verdict is given when it is due");
        if due {
            return verdict;
        }
        match self.under_way.take_if(|(at, _)| *at <= self.now) {
            Some((_, outcome)) => return self.machine.probed(now, &outcome),
            None if self.machine.next_probe().is_some_and(|at| at <= now) => {
                let (took, outcome) = backend(self.now);
                self.machine.probe_started(now);
                self.starts.push(self.now);
                self.under_way = Some((self.now + took, outcome));
            }
            None => {}
        }
        None
    }
}

/// Any valid check; `dead_after` is at most what `fall` and `interval` take anyway.
pub(super) fn checks() -> impl Strategy<Value = HealthCheck> {
    (20u64..5000, 0.0f64..=1.0, 1u32..8, 1u32..5, 0.0f64..=1.0).prop_map(
        |(interval, share, fall, rise, dead)| {
            let interval = ms(interval);
            let timeout = interval.mul_f64(share).max(ms(1)).min(interval);
            let bound = interval * fall + timeout;
            HealthCheck {
                interval,
                timeout,
                fall: count(fall),
                rise: count(rise),
                dead_after: bound.mul_f64(dead).min(bound),
                ..check()
            }
        },
    )
}

/// A healthy backend that takes any share of the timeout, also just all of it.
pub(super) fn slow(check: &HealthCheck, shares: &[f64], at: Duration) -> (Duration, ProbeOutcome) {
    let pick = usize::try_from(at.as_micros() % 7919).unwrap() % shares.len();
    let latency = check.timeout.mul_f64(shares[pick]).min(check.timeout);
    (latency, ProbeOutcome::Ready { latency })
}
