//! Silence between probes: suspicion, what is freed, and a host that is gone.

use std::time::Instant;

use super::{super::*, *};
use crate::{
    control::Signal,
    probe::{HostSign, Silence},
};

const ACKNOWLEDGED: HostSign = HostSign::Acknowledged;
const LOSSY: HostSign = HostSign::Lossy;

fn nothing(packets: u32) -> HostSign {
    HostSign::Nothing { packets }
}

/// A machine that is up, and the instant of its answer.
fn up() -> (Machine, Instant) {
    let begin = Instant::now();
    let mut machine = Machine::new(&check(), begin, 1);
    machine.probe_started(begin);
    machine.probed(begin, &ready()).unwrap();
    (machine, begin)
}

fn silent(machine: &mut Machine, since: Instant, after: u64, host: HostSign) -> Option<Health> {
    machine.silent(since + ms(after), Silence { since, host }, true).map(|transition| transition.to)
}

#[test]
fn silence_makes_suspect_and_is_probed_at_once() {
    let (mut machine, since) = up();
    assert_eq!(silent(&mut machine, since, 300, ACKNOWLEDGED), Some(Health::Suspect));
    assert!(machine.next_probe().unwrap() <= since + ms(300));
    assert_eq!(machine.reason().unwrap(), "idle connection: timed out");
    assert_eq!(silent(&mut machine, since, 350, ACKNOWLEDGED), None, "no second time");
}

#[test]
fn one_answer_clears_it() {
    let (mut machine, since) = up();
    silent(&mut machine, since, 300, ACKNOWLEDGED);
    machine.probe_started(since + ms(300));
    let transition = machine.probed(since + ms(700), &ready()).unwrap();
    assert_eq!(transition.to, Health::Up);
    assert_eq!(machine.frees_since(since + ms(5000)), None);
    assert_eq!(silent(&mut machine, since, 800, nothing(100)), None, "what was asked before the answer");
}

#[test]
fn who_acknowledges_is_given_time_and_who_sends_nothing_is_gone() {
    let last = |host| {
        let (mut machine, since) = up();
        let health = (300..4000).step_by(50).filter_map(|at| silent(&mut machine, since, at, host)).last();
        (health.unwrap(), machine.reason().unwrap())
    };
    assert_eq!(last(ACKNOWLEDGED).0, Health::Suspect);
    assert_eq!(last(LOSSY).0, Health::Suspect);
    assert_eq!(last(nothing(2)).0, Health::Suspect, "fewer packets than `fall`");
    assert_eq!(last(nothing(3)), (Health::Dead, "host is silent: it acknowledges no packet".to_owned()));
}

#[test]
fn dead_after_counts_from_the_question_and_not_from_the_answer_before_it() {
    let (mut machine, answered) = up();
    let asked = answered + ms(1900);
    silent(&mut machine, asked, 300, ACKNOWLEDGED);
    for end in [1400, 2400, 3400] {
        machine.probe_started(asked + ms(end - 1000));
        machine.probed(asked + ms(end), &timed_out());
    }
    assert_eq!(machine.health(), Health::Suspect);
    assert_eq!(machine.verdict_due(), Some(asked + check().dead_after));
}

#[test]
fn who_goes_on_sending_is_not_dead_however_many_probes_fail_and_dead_after_begins_anew() {
    let (mut machine, asked) = up();
    for second in 1..60 {
        let now = asked + ms(second * 1000);
        let heard = now - ms(30);
        machine.probe_started(now - ms(1000));
        machine.silent(now, Silence { since: asked, host: HostSign::Serving { heard } }, true);
        machine.probed(now, &timed_out());
        assert_eq!(machine.health(), Health::Suspect, "after {second} s");
        assert_eq!(machine.frees_since(now), None);
        assert_eq!(machine.verdict_due(), (second >= 2).then(|| heard + check().dead_after));
    }
    let last = asked + ms(59 * 1000 - 30);
    silent(&mut machine, asked, 60_000, ACKNOWLEDGED);
    assert_eq!(machine.expire(last + check().dead_after - ms(1)), None);
    assert_eq!(machine.expire(last + check().dead_after).unwrap().to, Health::Dead);
}

#[test]
fn whoever_is_heard_and_then_goes_away_is_gone_as_soon_as_anybody_else() {
    let (mut machine, since) = up();
    let heard = since + ms(700);
    machine.silent(since + ms(800), Silence { since, host: HostSign::Serving { heard } }, true);
    let gone = u64::try_from(gone_after(check().heartbeat).as_millis()).unwrap();
    assert_eq!(silent(&mut machine, since, 700 + gone - 1, nothing(20)), None);
    assert_eq!(machine.frees_since(since + ms(1200)), Some(heard), "those begun since it was heard");
    assert_eq!(silent(&mut machine, since, 700 + gone, nothing(20)), Some(Health::Dead));
}

#[test]
fn a_dead_one_that_sends_something_is_asked_at_once() {
    let (mut machine, since) = up();
    silent(&mut machine, since, 5000, nothing(20));
    machine.probe_started(since + ms(5000));
    machine.probed(since + ms(6000), &timed_out());
    let heard = since + ms(6500);
    assert!(machine.next_probe().unwrap() > heard);
    assert_eq!(machine.silent(heard, Silence { since, host: HostSign::Serving { heard } }, true), None);
    assert_eq!(machine.next_probe(), Some(heard));
    assert_eq!(machine.health(), Health::Dead, "one answer does not bring it back");
}

#[test]
fn a_host_is_gone_after_the_time_and_not_before() {
    let (mut machine, since) = up();
    let gone = u64::try_from(gone_after(check().heartbeat).as_millis()).unwrap();
    assert_eq!(silent(&mut machine, since, gone - 1, nothing(20)), Some(Health::Suspect));
    assert_eq!(silent(&mut machine, since, gone, nothing(20)), Some(Health::Dead));
    assert_eq!(silent(&mut machine, since, gone + 50, nothing(21)), None);
}

#[test]
fn where_no_other_backend_answers_either_nobody_is_gone_before_dead_after() {
    let (mut machine, since) = up();
    let alone = |machine: &mut Machine, after, others| {
        let silence = Silence { since, host: nothing(20) };
        machine.silent(since + ms(after), silence, others).map(|transition| transition.to)
    };
    assert_eq!(alone(&mut machine, 300, false), Some(Health::Suspect));
    assert_eq!(alone(&mut machine, 3900, false), None);
    assert_eq!(alone(&mut machine, 3950, true), Some(Health::Dead), "another answers again, and it does not");
}

#[test]
fn new_connections_are_freed_after_a_heartbeat_unless_packets_get_lost() {
    for (host, freed) in [(ACKNOWLEDGED, true), (nothing(9), true), (LOSSY, false)] {
        let (mut machine, since) = up();
        silent(&mut machine, since, 300, host);
        assert_eq!(machine.frees_since(since + ms(499)), None, "{host:?}");
        assert_eq!(machine.frees_since(since + ms(500)), freed.then_some(since), "{host:?}");
    }
}

#[test]
fn whoever_is_not_up_is_not_made_suspect() {
    let begin = Instant::now();
    let mut unknown = Machine::new(&check(), begin, 1);
    assert_eq!(silent(&mut unknown, begin, 5000, nothing(99)), None, "it takes no traffic");
    let mut adopted = Machine::adopted(&check(), begin, 1);
    assert_eq!(silent(&mut adopted, begin, 300, ACKNOWLEDGED), Some(Health::Suspect));
    let mut unready = Machine::new(&check(), begin, 1);
    unready.probe_started(begin);
    unready.probed(begin, &not_ready());
    assert_eq!(silent(&mut unready, begin, 5000, ACKNOWLEDGED), None);
    assert_eq!(silent(&mut unready, begin, 5000, nothing(99)), Some(Health::Dead));
}

#[test]
fn the_times_follow_the_heartbeat_but_a_host_has_a_second_at_least() {
    assert_eq!(patience(None), ms(300));
    assert_eq!([patience, free_after, gone_after].map(|f| f(Some(ms(500)))), [ms(300), ms(500), ms(1200)]);
    assert_eq!([patience, free_after, gone_after].map(|f| f(Some(ms(1000)))), [ms(600), ms(1000), ms(2400)]);
    assert_eq!(gone_after(Some(ms(10))), ms(1200));
    let impatient = HealthCheck { timeout: ms(100), ..check() };
    assert_eq!(impatient.patience(), ms(100));
}

#[test]
fn trouble_of_the_nodes_own_traffic_is_probed_at_once_but_not_endlessly() {
    let (mut machine, answered) = up();
    let mut hurried = 0;
    for at in (1000..1900).step_by(250) {
        let now = answered + ms(at);
        machine.signalled(now, Signal::Retransmitted);
        if machine.next_probe().unwrap() <= now {
            hurried += 1;
            assert!(machine.probe_started(now), "the node waits");
            machine.probed(now, &ready());
        }
    }
    assert_eq!(hurried, 3, "a burst, and then one in an interval");
}

#[test]
fn a_doubt_ends_with_the_probe() {
    let (mut machine, answered) = up();
    machine.signalled(answered + ms(50), Signal::Retransmitted);
    assert!(machine.probe_started(answered + ms(50)));
    machine.probed(answered + ms(51), &ready());
    assert!(!machine.probe_started(answered + ms(2000)));
}

#[test]
fn a_refused_connect_is_probed_at_once_too() {
    let (mut machine, answered) = up();
    machine.signalled(answered + ms(500), Signal::Refused);
    assert!(machine.next_probe().unwrap() <= answered + ms(500));
    assert!(!machine.probe_started(answered + ms(500)), "nobody waits");
    machine.probed(answered + ms(501), &refused());
    assert_eq!(machine.health(), Health::Suspect);
}
