//! Downloads.

use std::time::Instant;

use super::dialer::Dialer;
use super::exchange::Exchange;
use super::{Schedule, Work};

/// In one download, each on a connection of its own: so many that opening it does not count, so few that every master is
/// asked in a slice.
const MEBIBYTES: u32 = 64;

pub(super) fn run(dialer: &Dialer<'_>, schedule: Schedule) -> anyhow::Result<Work> {
    let path = format!("/bulk/{MEBIBYTES}");
    let mut work = Work::default();
    while !schedule.is_over() {
        let began = Instant::now();
        let mut exchange = Exchange::new(dialer.dial()?);
        exchange.get(&path, |piece| {
            work.all_bytes += piece as u64;
            if schedule.counts(Instant::now()) {
                work.bytes += piece as u64;
            }
        })?;
        work.samples.record(schedule.counts(began), began.elapsed());
    }
    Ok(work)
}
