//! The closing table and the verdict on the whole run.

use std::time::Duration;

use super::libtest::Counts;
use crate::terminal;

/// One stage of the run.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// How long it took.
    pub(crate) took: Duration,
}

/// How a stage ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Something that succeeds or fails as a whole.
    Task {
        /// It succeeded.
        ok: bool,
    },
    /// Tests.
    Tests {
        /// The program that ran them succeeded.
        ok: bool,
        /// How they ended.
        counts: Counts,
    },
}

impl Stage {
    /// Whether something went wrong, ignored tests aside.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures() > 0
    }

    /// Failed tests; a stage that fails without one, as when it does not compile, counts as one.
    fn failures(&self) -> u64 {
        match self.verdict {
            Verdict::Task { ok } => u64::from(!ok),
            Verdict::Tests { ok, counts } => counts.failed.max(u64::from(!ok)),
        }
    }

    fn counts(&self) -> Counts {
        match self.verdict {
            Verdict::Task { .. } => Counts { failed: self.failures(), ..Counts::default() },
            Verdict::Tests { counts, .. } => Counts { failed: self.failures(), ..counts },
        }
    }

    /// Ran, but had nothing to run.
    fn is_hollow(&self) -> bool {
        match self.verdict {
            Verdict::Task { .. } => false,
            Verdict::Tests { .. } => self.counts() == Counts::default(),
        }
    }

    fn row(&self, is_filtered: bool) -> String {
        let Counts { passed, failed, ignored } = self.counts();
        let remark = if failed > 0 {
            terminal::bad("failed")
        } else if ignored > 0 {
            terminal::bad("skipped tests")
        } else if self.is_hollow() && !is_filtered {
            terminal::bad("no tests ran")
        } else {
            terminal::good("ok")
        };
        let tests = match self.verdict {
            Verdict::Task { .. } => format!("{:>8}{:>8}{:>9}", "-", "-", "-"),
            Verdict::Tests { .. } => format!("{passed:>8}{failed:>8}{ignored:>9}"),
        };
        format!("{:<12}{tests}{:>10.1}  {remark}", self.name, self.took.as_secs_f64())
    }
}

/// The end of the run.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The table, then `N passed, N failed, N skipped` alone on the last line.
    pub(crate) text: String,
    /// Everything ran, and everything passed.
    pub(crate) success: bool,
}

/// Sums the stages up. With `is_filtered` a stage may have no test of that name, as long as another has one.
pub(crate) fn summarise(stages: &[Stage], is_filtered: bool) -> Summary {
    let mut lines =
        vec![format!("{:<12}{:>8}{:>8}{:>9}{:>10}", "stage", "passed", "failed", "skipped", "seconds")];
    let mut total = Counts::default();
    for stage in stages {
        lines.push(stage.row(is_filtered));
        total += stage.counts();
        if stage.is_hollow() && !is_filtered {
            // A stage that tests nothing proves nothing.
            total.failed += 1;
        }
    }
    if is_filtered && total == Counts::default() {
        lines.push(terminal::bad("no test has a name that contains the filter"));
        total.failed += 1;
    }
    lines.push(String::new());
    lines.push(format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.ignored));
    Summary { text: lines.join("\n"), success: total.failed == 0 && total.ignored == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(ok: bool) -> Stage {
        Stage { name: "lint", verdict: Verdict::Task { ok }, took: Duration::from_millis(1500) }
    }

    fn tests(ok: bool, passed: u64, failed: u64, ignored: u64) -> Stage {
        let counts = Counts { passed, failed, ignored };
        Stage { name: "unit", verdict: Verdict::Tests { ok, counts }, took: Duration::from_secs(2) }
    }

    #[test]
    fn the_last_line_counts_what_happened_and_the_verdict_follows_from_it() {
        for (stages, is_filtered, last, success) in [
            (
                vec![task(true), tests(true, 5, 0, 0), tests(true, 2, 0, 0)],
                false,
                "7 passed, 0 failed, 0 skipped",
                true,
            ),
            (vec![task(true), tests(false, 5, 2, 0)], false, "5 passed, 2 failed, 0 skipped", false),
            // An ignored test is not a passed one.
            (vec![task(true), tests(true, 5, 0, 3)], false, "5 passed, 0 failed, 3 skipped", false),
            // What fails without a failed test is a failure all the same.
            (vec![task(false), tests(true, 5, 0, 0)], false, "5 passed, 1 failed, 0 skipped", false),
            (vec![task(true), tests(false, 0, 0, 0)], false, "0 passed, 1 failed, 0 skipped", false),
            (
                vec![task(true), tests(true, 5, 0, 0), tests(true, 0, 0, 0)],
                false,
                "5 passed, 1 failed, 0 skipped",
                false,
            ),
            (
                vec![task(true), tests(true, 5, 0, 0), tests(true, 0, 0, 0)],
                true,
                "5 passed, 0 failed, 0 skipped",
                true,
            ),
            (vec![task(true), tests(true, 0, 0, 0)], true, "0 passed, 1 failed, 0 skipped", false),
            (vec![task(false)], true, "0 passed, 1 failed, 0 skipped", false),
        ] {
            let summary = summarise(&stages, is_filtered);
            assert_eq!(summary.text.lines().last(), Some(last), "{stages:?}");
            assert_eq!(summary.success, success, "{stages:?}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_stage() {
        let text = summarise(&[task(true), tests(true, 5, 0, 0)], false).text;
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["stage", "passed", "failed", "skipped", "seconds"]);
        assert_eq!(words[1][..5], ["lint", "-", "-", "-", "1.5"]);
        assert_eq!(words[2][..5], ["unit", "5", "0", "0", "2.0"]);
    }
}
