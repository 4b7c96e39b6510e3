//! Reading what Rust's test harness prints.
//!
//! Format: `running N tests`, a line `test NAME ... ok` for each, and
//! `test result: ok. P passed; F failed; I ignored; M measured; O filtered out; finished in Ts`.

use std::ops::AddAssign;

/// How tests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, or never ended because their process died.
    pub(crate) failed: u64,
    /// Tests that were ignored.
    pub(crate) ignored: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Longer lines are not the harness's own; what is beyond this is not kept.
const LONGEST_LINE: usize = 4096;

/// Counts tests in the output of any number of test programs, given piece by piece.
#[derive(Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The program that has begun but not yet given its result.
    open: Option<Open>,
    total: Counts,
}

struct Open {
    announced: u64,
    seen: Counts,
}

impl Parser {
    /// Takes the next piece of output.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
        }
    }

    /// The counts of all output so far, taken as complete.
    pub(crate) fn finish(mut self) -> Counts {
        self.end_line();
        self.close();
        self.total
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = without_colours(&String::from_utf8_lossy(&bytes));
        let line = line.trim();
        if let Some(announced) = running(line) {
            self.close();
            self.open = Some(Open { announced, seen: Counts::default() });
        } else if let Some(counts) = result(line) {
            self.open = None;
            self.total += counts;
        } else if let (Some(open), Some(counts)) = (&mut self.open, single(line)) {
            open.seen += counts;
        }
    }

    /// A program that ended without a result died in the middle: what it still owed has failed.
    fn close(&mut self) {
        if let Some(Open { announced, mut seen }) = self.open.take() {
            let owed = announced.saturating_sub(seen.passed + seen.failed + seen.ignored);
            seen.failed = (seen.failed + owed).max(1);
            self.total += seen;
        }
    }
}

/// `running 3 tests`
fn running(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    let count = rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?;
    count.parse().ok()
}

/// `test result: FAILED. 1 passed; 2 failed; 3 ignored; ...`
fn result(line: &str) -> Option<Counts> {
    let (_verdict, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |label: &str| {
        numbers.split(';').find_map(|part| part.trim().strip_suffix(label)?.trim().parse::<u64>().ok())
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

/// `test module::name ... ok`
fn single(line: &str) -> Option<Counts> {
    let (_name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let one = |passed, failed, ignored| Some(Counts { passed, failed, ignored });
    match outcome.split([' ', ',']).next()? {
        "ok" => one(1, 0, 0),
        "FAILED" => one(0, 1, 0),
        "ignored" => one(0, 0, 1),
        _ => None,
    }
}

/// `line` without terminal control sequences (ESC [ ... letter).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().skip_while(|c| *c == '[').find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(output: &str) -> Counts {
        let mut parser = Parser::default();
        parser.feed(output.as_bytes());
        parser.finish()
    }

    const TWO_PROGRAMS: &str = "
running 2 tests
test a::b ... ok
test a::c ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s

   Doc-tests lb_core

running 3 tests
test d ... ignored, needs a kernel
test e ... ok
test f - should panic ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s
";

    #[test]
    fn the_results_of_all_programs_are_added_up() {
        assert_eq!(counts(TWO_PROGRAMS), Counts { passed: 3, failed: 1, ignored: 1 });
        assert_eq!(counts(""), Counts::default());
    }

    #[test]
    fn output_may_arrive_in_pieces_of_any_size() {
        for size in [1, 2, 7, 64] {
            let mut parser = Parser::default();
            TWO_PROGRAMS.as_bytes().chunks(size).for_each(|piece| parser.feed(piece));
            assert_eq!(parser.finish(), Counts { passed: 3, failed: 1, ignored: 1 }, "pieces of {size}");
        }
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        let output = "running 1 test\ntest a ... \x1b[32mok\x1b(B\x1b[m\n\n\
                      test result: \x1b[32mok\x1b[0m. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(counts(output), Counts { passed: 1, failed: 0, ignored: 0 });
    }

    #[test]
    fn a_program_that_dies_fails_every_test_it_still_owed() {
        let died = "running 4 tests\ntest a ... ok\ntest b ... ignored\n";
        assert_eq!(counts(died), Counts { passed: 1, failed: 2, ignored: 1 });
        assert_eq!(counts(&format!("{died}{TWO_PROGRAMS}")), Counts { passed: 4, failed: 3, ignored: 2 });
    }

    #[test]
    fn a_program_that_dies_after_its_last_test_is_still_a_failure() {
        assert_eq!(counts("running 1 test\ntest a ... ok\n"), Counts { passed: 1, failed: 1, ignored: 0 });
        assert_eq!(counts("running 0 tests\n"), Counts { passed: 0, failed: 1, ignored: 0 });
    }

    #[test]
    fn what_tests_print_themselves_is_not_counted() {
        let output = "running 1 test\nthe test result: ok. 9 passed; 9 failed; 9 ignored\n\
                      running late\ntest drive\ntest a ... ok\n\
                      test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(counts(output), Counts { passed: 1, failed: 0, ignored: 0 });
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_long_one() {
        let mut parser = Parser::default();
        for _ in 0..100 {
            parser.feed(&[b'x'; 1000]);
        }
        assert!(parser.line.len() <= LONGEST_LINE);
        parser.feed(TWO_PROGRAMS.as_bytes());
        assert_eq!(parser.finish(), Counts { passed: 3, failed: 1, ignored: 1 });
    }
}
