//! Packets of chance, through every program, with maps of chance.
//!
//! `case` makes them, `view` reads a packet a second time, `check` says what must hold whatever comes. The suite does this for
//! a few seconds; `LBCTL_FUZZ_SECONDS` says for how long. What fails is made smaller and shown.

mod case;
mod check;
mod view;

use std::{
    env,
    time::{Duration, Instant},
};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::{
    family::Family,
    kernel::within,
    setup::{Form, Setup},
};

const SECONDS: &str = "LBCTL_FUZZ_SECONDS";

#[test]
fn no_packet_surprises_the_programs() {
    let seconds = env::var(SECONDS).map_or(8, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let (cases, seen) = within(|kernel| {
        let form = Form { family: Family::V4, bare: false };
        let setup = std::cell::RefCell::new(Setup::new(kernel, form));
        let seen = std::cell::RefCell::new(check::Seen::default());
        let mut cases = 0_u64;
        while Instant::now() < end {
            let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
            let result = TestRunner::new(config).run(&case::case(), |case| {
                let outcome = check::check(&mut setup.borrow_mut(), &case, &mut seen.borrow_mut());
                outcome.map_err(TestCaseError::fail)
            });
            match result {
                Ok(()) => cases += 64,
                Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:#?}"),
                Err(TestError::Abort(reason)) => panic!("{reason}"),
            }
        }
        (cases, seen.into_inner())
    });
    eprintln!("{cases} cases: {seen:?}");
    // All of it came about, or it shows nothing.
    if cases > 1000 {
        seen.assert_nothing_is_missing();
    }
}
