//! When probes are due, and what a machine tells about itself: one story per test.

use std::time::Instant;

use super::{super::*, *};

/// A machine with a clock of its own.
struct Story {
    machine: Machine,
    now: Instant,
}

impl Story {
    fn of(machine: impl FnOnce(&HealthCheck, Instant, u64) -> Machine, check: &HealthCheck) -> Self {
        let now = Instant::now();
        Self { machine: machine(check, now, 7), now }
    }

    fn up(check: &HealthCheck) -> Self {
        let mut story = Self::of(Machine::new, check);
        story.probe(ms(1), &ready());
        assert_eq!(story.machine.health(), Health::Up);
        story
    }

    /// The next probe, when it is due, with its outcome after `took`.
    fn probe(&mut self, took: Duration, outcome: &ProbeOutcome) -> Option<Transition> {
        self.now = self.machine.next_probe().unwrap().max(self.now);
        self.machine.probe_started(self.now);
        self.now += took;
        self.machine.probed(self.now, outcome)
    }

    /// From now to the next probe.
    fn pause(&self) -> Duration {
        self.machine.next_probe().unwrap() - self.now
    }
}

fn assert_between(pause: Duration, low: Duration, high: Duration) {
    assert!(low <= pause && pause <= high, "{pause:?} is not between {low:?} and {high:?}");
}

#[test]
fn the_first_probe_is_due_at_once_and_the_next_ones_after_a_jittered_interval() {
    let story = Story::of(Machine::new, &check());
    assert_eq!(story.pause(), ms(0));
    let mut story = Story::up(&check());
    let pauses: Vec<_> = (0..50).map(|_| (story.probe(ms(1), &ready()), story.pause()).1).collect();
    for pause in &pauses {
        assert_between(*pause, ms(1799), ms(1999));
    }
    assert!(pauses.iter().max().unwrap().abs_diff(*pauses.iter().min().unwrap()) > ms(50), "no jitter");
}

#[test]
fn two_seeds_do_not_march_in_step() {
    let now = Instant::now();
    let due = |seed| {
        let mut machine = Machine::new(&check(), now, seed);
        machine.probe_started(now);
        machine.probed(now, &ready());
        machine.next_probe()
    };
    assert_eq!(due(1), due(1));
    assert_ne!(due(1), due(2));
}

#[test]
fn a_refused_backend_is_dead_after_three_probes_in_quick_succession() {
    let mut story = Story::up(&check());
    let lost = story.now + ms(500);
    story.now = lost;
    story.machine.connection_lost(story.now, &Failure::Closed(Phase::Idle));
    assert_eq!(story.pause(), ms(0));
    assert_eq!(story.machine.reason().as_deref(), Some("idle connection: closed without an answer"));
    let first = story.probe(ms(1), &refused()).unwrap();
    assert_eq!((first.from, first.to), (Health::Up, Health::Suspect));
    assert_eq!(story.pause(), ms(15));
    assert_eq!(story.probe(ms(1), &refused()), None);
    assert_eq!(story.machine.failures(), 2);
    let last = story.probe(ms(1), &refused()).unwrap();
    let reason = "connect: connection refused".to_owned();
    assert_eq!(last, Transition { from: Health::Suspect, to: Health::Dead, reason });
    assert_eq!(story.now - lost, ms(33));
    assert_eq!(story.machine.since(), Some(story.now));
    assert!(!story.machine.accepts_tcp() && story.machine.trusted());
    assert_between(story.pause(), ms(1799), ms(1999));
}

#[test]
fn a_silent_backend_is_probed_without_pause_and_dead_when_the_silence_is_long_enough() {
    let mut story = Story::up(&check());
    let answered = story.now;
    story.machine.connection_lost(story.now, &TIMEOUT);
    for _ in 0..3 {
        assert_eq!(story.machine.verdict_due(), None);
        story.probe(ms(1000), &timed_out());
        assert_eq!(story.pause(), ms(0));
    }
    assert_eq!(story.machine.health(), Health::Suspect);
    let due = answered + ms(4000);
    assert_eq!(story.machine.verdict_due(), Some(due));
    story.machine.probe_started(story.now);
    assert_eq!(story.machine.expire(due - ms(1)), None);
    let verdict = story.machine.expire(due).unwrap();
    assert_eq!((verdict.to, verdict.reason.as_str()), (Health::Dead, "request: timed out"));
    assert_eq!((story.machine.verdict_due(), story.machine.expire(due)), (None, None));
    assert_eq!(story.machine.next_probe(), None, "the probe under way goes on");
}

#[test]
fn a_tiny_timeout_is_no_licence_to_flood() {
    let mut story = Story::up(&HealthCheck { timeout: ms(5), ..check() });
    story.probe(ms(5), &timed_out());
    assert_eq!(story.pause(), ms(95));
}

#[test]
fn one_slow_answer_is_forgiven_at_once() {
    let mut story = Story::up(&check());
    story.probe(ms(1000), &timed_out());
    let back = story.probe(ms(900), &ProbeOutcome::Ready { latency: ms(900) }).unwrap();
    let reason = "GET /readyz: ready".to_owned();
    assert_eq!(back, Transition { from: Health::Suspect, to: Health::Up, reason });
    assert_eq!((story.machine.failures(), story.machine.latency()), (0, Some(ms(900))));
}

#[test]
fn not_ready_is_asked_a_second_time_soon() {
    let mut story = Story::up(&check());
    assert_eq!(story.probe(ms(1), &not_ready()), None);
    assert_eq!(story.pause(), ms(99));
    assert_eq!(story.machine.reason().as_deref(), Some("GET /readyz: 500"));
    let verdict = story.probe(ms(1), &not_ready()).unwrap();
    let reason = "GET /readyz: 500".to_owned();
    assert_eq!(verdict, Transition { from: Health::Up, to: Health::NotReady, reason });
    assert!(story.machine.accepts_tcp());
    assert_eq!(story.machine.failures(), 0);
    assert_between(story.pause(), ms(1799), ms(1999));
}

#[test]
fn a_backend_that_was_down_comes_back_after_rise_successes_at_an_eager_pace() {
    for bad in [refused(), not_ready()] {
        let mut story = Story::up(&check());
        while !matches!(story.machine.health(), Health::Dead | Health::NotReady) {
            story.probe(ms(1), &bad);
        }
        assert_eq!(story.probe(ms(1), &ready()), None);
        assert_between(story.pause(), ms(449), ms(499));
        assert_eq!(story.machine.failures(), 0);
        assert_eq!(story.probe(ms(1), &ready()).unwrap().to, Health::Up);
        assert_eq!(story.machine.reason(), None);
    }
}

#[test]
fn a_backend_that_was_never_up_is_watched_eagerly_and_believed_at_once() {
    for bad in [refused(), not_ready()] {
        let mut story = Story::of(Machine::new, &check());
        for _ in 0..5 {
            story.probe(ms(1), &bad);
            assert_between(story.pause(), ms(449), ms(499));
        }
        assert!(!story.machine.ever_up());
        assert_eq!(story.probe(ms(1), &ready()).unwrap().to, Health::Up);
        assert!(story.machine.ever_up());
    }
}

#[test]
fn an_adopted_backend_is_as_hard_to_kill_as_one_that_was_up() {
    let mut story = Story::of(Machine::adopted, &check());
    assert_eq!((story.machine.health(), story.machine.since()), (Health::Unknown, None));
    let verdicts: Vec<_> =
        (0..3).map(|_| (story.probe(ms(1), &refused()), story.machine.health()).1).collect();
    assert_eq!(verdicts, [Health::Suspect, Health::Suspect, Health::Dead]);
    assert!(story.machine.is_adopted() && !story.machine.ever_up());
    assert_eq!(story.probe(ms(1), &ready()), None, "it had its place, so it needs `rise` to get it back");
}

#[test]
fn a_connection_lost_during_a_probe_asks_for_another_one_right_after_it() {
    let mut story = Story::up(&check());
    story.now = story.machine.next_probe().unwrap();
    story.machine.probe_started(story.now);
    story.machine.connection_lost(story.now, &Failure::Reset(Phase::Idle));
    assert_eq!(story.machine.next_probe(), None);
    story.now += ms(1);
    assert_eq!(story.machine.probed(story.now, &ready()), None);
    assert_eq!(story.pause(), ms(0));
    story.probe(ms(1), &ready());
    assert_between(story.pause(), ms(1799), ms(1999));
}

#[test]
fn an_inconclusive_probe_changes_nothing_but_the_schedule() {
    let mut story = Story::up(&check());
    story.probe(ms(1000), &timed_out());
    let before = (story.machine.reason(), story.machine.failures(), story.machine.since());
    assert_eq!(story.probe(ms(0), &inconclusive()), None);
    assert_eq!((story.machine.reason(), story.machine.failures(), story.machine.since()), before);
    assert_between(story.pause(), ms(1800), ms(2000));
}

#[test]
fn a_bad_certificate_is_remembered_until_a_good_answer() {
    let mut story = Story::up(&check());
    let bad = ProbeOutcome::Failed(Failure::Certificate("unknown issuer".into()));
    while story.machine.health() != Health::Dead {
        story.probe(ms(1), &bad);
    }
    assert_eq!(story.machine.reason().as_deref(), Some("tls: bad certificate: unknown issuer"));
    assert!(story.machine.accepts_tcp() && !story.machine.trusted());
    story.probe(ms(1000), &timed_out());
    assert!(story.machine.accepts_tcp() && !story.machine.trusted());
    story.probe(ms(1), &ready());
    assert!(story.machine.trusted());
}

#[test]
fn a_reload_keeps_the_state_and_takes_the_new_numbers() {
    let mut story = Story::up(&check());
    let brisk = HealthCheck { interval: ms(200), timeout: ms(100), fall: count(1), ..check() };
    story.machine.retune(&brisk, story.now);
    assert_eq!(story.machine.health(), Health::Up);
    assert_between(story.pause(), ms(180), ms(200));
    assert_eq!(story.probe(ms(1), &refused()).unwrap().to, Health::Dead);
}

#[test]
fn a_reload_with_a_new_question_asks_it_at_once() {
    let mut story = Story::up(&check());
    let asked = HealthCheck { kind: CheckKind::Http(HttpCheck::get("/livez", [200])), ..check() };
    story.machine.retune(&asked, story.now);
    assert_eq!(story.pause(), ms(0));
    story.machine.probe_started(story.now);
    story.machine.retune(&check(), story.now);
    story.machine.probed(story.now, &ready());
    assert_eq!(story.pause(), ms(0), "the probe under way asked the old question");
}

#[test]
fn an_outcome_without_a_probe_is_ignored() {
    let mut story = Story::of(Machine::new, &check());
    assert_eq!(story.machine.probed(story.now, &ready()), None);
    assert_eq!(story.machine.health(), Health::Unknown);
    assert_eq!(story.pause(), ms(0));
}

#[test]
fn a_second_start_does_not_move_the_first() {
    let mut story = Story::up(&check());
    story.now = story.machine.next_probe().unwrap();
    story.machine.probe_started(story.now);
    story.machine.probe_started(story.now + ms(500));
    story.now += ms(501);
    story.machine.probed(story.now, &ready());
    assert_between(story.pause(), ms(1299), ms(1499));
}

#[test]
fn a_tcp_check_gives_a_reason_too() {
    let mut story = Story::of(Machine::new, &HealthCheck { kind: CheckKind::Tcp, ..check() });
    assert_eq!(story.probe(ms(1), &ready()).unwrap().reason, "connect: ready");
}
