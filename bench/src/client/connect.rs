//! connect() alone.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::dialer::{Dialer, reset_at_end};
use super::{Schedule, Work};

/// Connections in a row: fewer than any listener's queue holds, since none of them is waited for.
const BURST: u32 = 256;
/// A burst is over by then, so that a slice has many on a slow machine too.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// The rest after a burst, in lengths of the burst: others have more work with a connection than the client, and a queue
/// that overflows would be all that is measured.
const REST: u32 = 5;

pub(super) fn run(dialer: &Dialer<'_>, schedule: Schedule) -> anyhow::Result<Work> {
    let (mut work, mut busy) = (Work::default(), Duration::ZERO);
    while !schedule.is_over() {
        let began = Instant::now();
        let counts = schedule.counts(began);
        let mut took = Duration::ZERO;
        for _ in 0..BURST {
            work.samples.record(counts, connect(dialer)?);
            took = began.elapsed();
            if took >= LONGEST_BURST {
                break;
            }
        }
        if counts {
            busy += took;
        }
        sleep(took * REST);
    }
    Ok(Work { busy: Some(busy), ..work })
}

/// How long it took.
fn connect(dialer: &Dialer<'_>) -> anyhow::Result<Duration> {
    let target = dialer.pick()?;
    let began = Instant::now();
    let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
    let took = began.elapsed();
    reset_at_end(&stream)?;
    Ok(took)
}
