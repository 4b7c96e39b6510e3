//! Requests on connections that are kept.

use std::thread;
use std::time::Instant;

use anyhow::anyhow;

use super::dialer::Dialer;
use super::exchange::Exchange;
use super::{Schedule, Work};

/// As many as a busy kubelet has watches and requests under way.
const CONNECTIONS: usize = 8;
/// On one connection. Then another one is opened, so that many ways to share the connections among the masters have part
/// in a slice, and not one that chance made uneven.
const REQUESTS: usize = 500;

pub(super) fn run(dialer: &Dialer<'_>, schedule: Schedule) -> anyhow::Result<Work> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(move || ask(dialer, schedule))).collect();
        let mut sum = Work::default();
        for client in clients {
            let work = client.join().map_err(|_| anyhow!("a client panicked"))??;
            sum.samples.absorb(work.samples);
        }
        Ok(sum)
    })
}

fn ask(dialer: &Dialer<'_>, schedule: Schedule) -> anyhow::Result<Work> {
    let mut work = Work::default();
    while !schedule.is_over() {
        let mut exchange = Exchange::new(dialer.dial()?);
        for _ in 0..REQUESTS {
            let began = Instant::now();
            exchange.get("/whoami", |_| ())?;
            work.samples.record(schedule.counts(began), began.elapsed());
            if schedule.is_over() {
                break;
            }
        }
    }
    Ok(work)
}
