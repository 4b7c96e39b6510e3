use lb_tests::pace::{Attempt, End, Report, Watched};

use super::figures::{Figures, Moments};
use super::span::Span;

const FAULT_US: u64 = 10_000_000;
const MENDED_US: u64 = 20_000_000;
const MOMENTS: Moments = Moments { fault_us: FAULT_US, mended_us: MENDED_US };

/// Begun and ended so many milliseconds after the fault.
fn attempt(begin_ms: i64, took_ms: u64, end: End) -> Attempt {
    let begin_us = FAULT_US.saturating_add_signed(begin_ms * 1_000);
    Attempt { begin_us, took_us: took_ms * 1_000, connect_us: Some(100), end }
}

fn served(by: &str) -> End {
    End::Served(by.to_owned())
}

fn failed() -> End {
    End::Failed("ECONNRESET".to_owned())
}

fn watch(server: &str, ended_ms: Option<u64>) -> Watched {
    let ended = ended_ms.map(|ms| (FAULT_US + ms * 1_000, "eof".to_owned()));
    Watched { server: Some(server.to_owned()), ended }
}

fn figures(attempts: Vec<Attempt>, watches: Vec<Watched>) -> Figures {
    let report = Report { attempts, watches, latest_us: 1_500, ..Report::default() };
    Figures::new(&report, MOMENTS, "m1")
}

#[test]
fn a_fault_that_nobody_noticed_has_no_last_failure() {
    let figures =
        figures(vec![attempt(-50, 5, served("m1")), attempt(10, 5, served("m2"))], vec![watch("m2", None)]);
    assert_eq!((figures.attempts, figures.failed, figures.slow), (1, 0, 0));
    assert_eq!((figures.last_trouble_began, figures.last_trouble_ended), (Span::Never, Span::Never));
    assert_eq!(figures.watches.last, Span::Never);
    assert_eq!(figures.others_ended, 0);
}

#[test]
fn an_attempt_under_way_at_the_fault_began_before_it() {
    let figures = figures(vec![attempt(-3, 4, failed()), attempt(10, 5, served("m2"))], vec![]);
    assert_eq!(figures.last_trouble_began, Span::Ms(-3.0));
    assert_eq!(figures.last_trouble_ended, Span::Ms(1.0));
    assert_eq!((figures.failed, figures.failed_connects), (1, 0));
    assert_eq!(figures.slowest_connect_ms, 0.1);
    assert_eq!(figures.errors["ECONNRESET"], 1);
}

#[test]
fn slow_counts_as_trouble_and_the_longest_wait_ends_it() {
    let attempts = vec![
        attempt(0, 1_500, served("m2")),
        attempt(400, 300, failed()),
        attempt(500, 5, served("m2")),
        attempt(9_000, 5, served("m3")),
    ];
    let figures = figures(attempts, vec![]);
    assert_eq!((figures.failed, figures.slow), (1, 2));
    assert_eq!(figures.last_trouble_began, Span::Ms(400.0));
    assert_eq!(figures.last_trouble_ended, Span::Ms(1_500.0));
    assert_eq!(figures.longest_gap_ms, 7_505.0);
}

#[test]
fn trouble_up_to_the_end_of_the_window_did_not_end() {
    let figures = figures(vec![attempt(7_001, 1, failed()), attempt(9_990, 900, End::Unfinished)], vec![]);
    assert_eq!(figures.last_trouble_began, Span::Beyond(10_000.0));
    assert_eq!(figures.last_trouble_ended, Span::Beyond(10_000.0));
    assert_eq!(figures.failed, 1, "what is under way has not failed");
}

#[test]
fn a_watch_that_did_not_notice_outlasts_the_window() {
    let watches =
        vec![watch("m1", Some(30)), watch("m1", Some(10_001)), watch("m1", None), watch("m2", Some(5))];
    let figures = figures(vec![], watches);
    assert_eq!((figures.watches.open, figures.watches.ended), (3, 1));
    assert_eq!(figures.watches.first, Span::Ms(30.0));
    assert_eq!(figures.watches.last, Span::Beyond(10_000.0));
    assert_eq!(figures.others_ended, 1);
}

#[test]
fn the_return_is_seen_by_the_first_answer_after_it() {
    let attempts = vec![
        attempt(9_000, 1, served("m1")),
        attempt(10_020, 1, served("m2")),
        attempt(10_050, 1, failed()),
        attempt(10_100, 1, served("m1")),
    ];
    let seen = figures(attempts, vec![]);
    assert_eq!(seen.back, Span::Ms(100.0));
    assert_eq!((seen.failed, seen.failed_on_return), (0, 1));
    assert_eq!(seen.last_by_victim, Span::Ms(-1_000.0 + 10_000.0));

    let never = figures(vec![attempt(12_000, 1, served("m2"))], vec![]);
    assert_eq!(never.back, Span::Beyond(2_000.0));
}
