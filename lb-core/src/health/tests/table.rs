//! Every state, every outcome.

use super::{super::state::*, *};

fn facts(fall: u32, silent: bool, established: bool) -> Facts {
    Facts { fall: count(fall), rise: count(2), silent, established }
}

fn up() -> State {
    State::Up { doubt: None }
}

fn up_but(doubt: Doubt) -> State {
    State::Up { doubt: Some(doubt) }
}

fn streak(failures: u32, last: Failure) -> Streak {
    Streak { failures: count(failures), last }
}

fn suspect(failures: u32, last: Failure) -> State {
    State::Suspect { streak: streak(failures, last) }
}

fn unready(trend: Trend) -> State {
    State::NotReady { status: 500, trend }
}

fn dead(why: Failure, run: Run) -> State {
    State::Dead { why, run }
}

/// From, after ready, after not ready, after a refusal, after a timeout.
type Row = (State, State, State, State, State);

fn assert_rows(rows: Vec<Row>, facts: Facts) {
    for (from, on_ready, on_not_ready, on_refused, on_timeout) in rows {
        let expected = [
            (ready(), on_ready),
            (not_ready(), on_not_ready),
            (refused(), on_refused),
            (timed_out(), on_timeout),
            (inconclusive(), from.clone()),
        ];
        for (outcome, to) in expected {
            assert_eq!(from.after(&outcome, facts), to, "{from:?} + {outcome:?} with {facts:?}");
        }
    }
}

/// What every established backend does, silent or not: rows that end before the `fall`th failure.
fn early_rows() -> Vec<Row> {
    let steady = || unready(Trend::Steady);
    let doubted = || up_but(Doubt::NotReady(500));
    let failing = |n, why| unready(Trend::Failing(streak(n, why)));
    let rising = |n| unready(Trend::Rising(n));
    let first = |from, on_ready, on_not_ready| {
        (from, on_ready, on_not_ready, suspect(1, REFUSED), suspect(1, TIMEOUT))
    };
    vec![
        first(State::Unknown, up(), steady()),
        first(up(), up(), doubted()),
        first(up_but(Doubt::Lost(REFUSED)), up(), doubted()),
        first(doubted(), up(), steady()),
        (suspect(1, TIMEOUT), up(), steady(), suspect(2, REFUSED), suspect(2, TIMEOUT)),
        (steady(), rising(1), steady(), failing(1, REFUSED), failing(1, TIMEOUT)),
        (rising(1), up(), steady(), failing(1, REFUSED), failing(1, TIMEOUT)),
        (failing(1, TIMEOUT), rising(1), steady(), failing(2, REFUSED), failing(2, TIMEOUT)),
        (
            dead(TIMEOUT, Run::Failures(7)),
            dead(TIMEOUT, Run::Successes(1)),
            steady(),
            dead(REFUSED, Run::Failures(8)),
            dead(TIMEOUT, Run::Failures(8)),
        ),
        (
            dead(TIMEOUT, Run::Successes(1)),
            up(),
            steady(),
            dead(REFUSED, Run::Failures(1)),
            dead(TIMEOUT, Run::Failures(1)),
        ),
    ]
}

#[test]
fn before_the_last_failure_silence_makes_no_difference() {
    assert_rows(early_rows(), facts(3, false, true));
    assert_rows(early_rows(), facts(3, true, true));
}

#[test]
fn the_last_failure_kills_at_once_when_prompt_and_when_a_timeout_only_after_silence() {
    let failing = |n, why| unready(Trend::Failing(streak(n, why)));
    let gone = |why| dead(why, Run::Failures(3));
    for last in [REFUSED, TIMEOUT] {
        let patient = vec![
            (suspect(2, last.clone()), up(), unready(Trend::Steady), gone(REFUSED), suspect(3, TIMEOUT)),
            (
                failing(2, last.clone()),
                unready(Trend::Rising(1)),
                unready(Trend::Steady),
                gone(REFUSED),
                failing(3, TIMEOUT),
            ),
        ];
        assert_rows(patient, facts(3, false, true));
        let silent = vec![
            (suspect(2, last.clone()), up(), unready(Trend::Steady), gone(REFUSED), gone(TIMEOUT)),
            (
                failing(2, last),
                unready(Trend::Rising(1)),
                unready(Trend::Steady),
                gone(REFUSED),
                gone(TIMEOUT),
            ),
        ];
        assert_rows(silent, facts(3, true, true));
    }
}

#[test]
fn a_backend_that_was_never_up_dies_of_one_failure_and_rises_with_one_success() {
    let steady = || unready(Trend::Steady);
    let failing = |why| unready(Trend::Failing(streak(1, why)));
    let gone = |why, n| dead(why, Run::Failures(n));
    let rows = vec![
        (State::Unknown, up(), steady(), gone(REFUSED, 1), gone(TIMEOUT, 1)),
        (steady(), up(), steady(), failing(REFUSED), failing(TIMEOUT)),
        (gone(REFUSED, 1), up(), steady(), gone(REFUSED, 2), gone(TIMEOUT, 2)),
    ];
    assert_rows(rows.clone(), facts(3, false, false));
    assert_rows(rows, facts(3, true, false));
}

#[test]
fn with_fall_one_a_single_bad_outcome_decides() {
    let steady = || unready(Trend::Steady);
    let gone = |why| dead(why, Run::Failures(1));
    let rows = vec![
        (up(), up(), steady(), gone(REFUSED), gone(TIMEOUT)),
        (State::Unknown, up(), steady(), gone(REFUSED), gone(TIMEOUT)),
        (steady(), unready(Trend::Rising(1)), steady(), gone(REFUSED), gone(TIMEOUT)),
    ];
    assert_rows(rows, facts(1, true, true));
    let patient = vec![(up(), up(), steady(), gone(REFUSED), suspect(1, TIMEOUT))];
    assert_rows(patient, facts(1, false, true));
}

#[test]
fn silence_alone_kills_only_after_enough_failures() {
    let silent = facts(3, true, true);
    let gone = dead(TIMEOUT, Run::Failures(3));
    assert_eq!(suspect(3, TIMEOUT).after_silence(silent), gone);
    assert_eq!(unready(Trend::Failing(streak(3, TIMEOUT))).after_silence(silent), gone);
    let unmoved = [
        State::Unknown,
        up(),
        up_but(Doubt::Lost(TIMEOUT)),
        suspect(2, TIMEOUT),
        unready(Trend::Steady),
        unready(Trend::Rising(1)),
        unready(Trend::Failing(streak(2, TIMEOUT))),
        dead(TIMEOUT, Run::Successes(1)),
    ];
    for state in unmoved {
        assert_eq!(state.after_silence(silent), state);
    }
    let still_early = facts(3, false, true);
    assert_eq!(suspect(3, TIMEOUT).after_silence(still_early), suspect(3, TIMEOUT));
}
