//! connect() alone.

use std::net::TcpStream;
use std::time::Instant;

use anyhow::Context;

use super::dialer::{Dialer, reset_at_end};
use super::{Schedule, Work};

pub(super) fn run(dialer: &Dialer<'_>, schedule: Schedule) -> anyhow::Result<Work> {
    let mut work = Work::default();
    while !schedule.is_over() {
        let target = dialer.pick()?;
        let began = Instant::now();
        let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
        work.samples.record(schedule, began, began.elapsed());
        reset_at_end(&stream)?;
    }
    Ok(work)
}
