//! `pace`: a new connection every few milliseconds, however the earlier ones fare, beside some that hold one.
//!
//! An open loop: what waits does not keep others from beginning, so that a master's silence is met as often as by clients
//! that know nothing of each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::dial::{Failure, Target};
use super::exchange::{ask, watch};
use super::{Endpoint, TlsOptions, duration};
use crate::clock::monotonic_us;
use crate::pace::{Attempt, End, Progress, Report, Watched};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Time between the beginnings of two attempts
    #[arg(long, default_value = "10ms", value_parser = duration)]
    every: Duration,
    /// Connect, ask getpeername() and close
    #[arg(long)]
    tcp_only: bool,
    /// What takes longer counts as trouble in the progress
    #[arg(long, default_value = "250ms", value_parser = duration)]
    slow: Duration,
    /// How many attempts may be under way
    #[arg(long, default_value_t = 512)]
    most: usize,
    /// How many connections to hold open all the while, receiving /watch
    #[arg(long, default_value_t = 24)]
    held: u32,
    /// Time between two lines of progress
    #[arg(long, default_value = "50ms", value_parser = duration)]
    progress: Duration,
    /// How long at most; SIGTERM ends it sooner
    #[arg(long, default_value = "2m", value_parser = duration)]
    duration: Duration,
}

/// What happens, as it happens.
#[derive(Default)]
struct Log {
    report: Report,
    under_way: usize,
}

type SharedLog = Arc<Mutex<Log>>;

/// Prints progress, a line each, and at the end a [`Report`].
pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let log = SharedLog::default();
    let mut tasks = JoinSet::new();
    for _ in 0..args.held {
        tasks.spawn(hold(target.clone(), Arc::clone(&log)));
    }
    tasks.spawn(tell(args.progress, args.slow, Arc::clone(&log)));
    let plan = Plan { every: args.every, most: args.most, tcp_only: args.tcp_only };
    let pacing = tasks.spawn(pace(target, plan, Arc::clone(&log)));
    tokio::select! {
        () = sleep(args.duration) => {}
        _ = terminate.recv() => {}
    }
    pacing.abort();
    // What is not slow gets the time to end.
    sleep(args.slow).await;
    tasks.shutdown().await;
    let report = finish(&mut lock(&log).report);
    println!("{}", serde_json::to_string(&report).context("write the report")?);
    Ok(())
}

/// Takes the report, with the time up to now for what has not ended.
fn finish(report: &mut Report) -> Report {
    let now = monotonic_us();
    for attempt in report.attempts.iter_mut().filter(|attempt| attempt.end == End::Unfinished) {
        attempt.took_us = now.saturating_sub(attempt.begin_us);
    }
    std::mem::take(report)
}

/// What attempts are like.
#[derive(Clone, Copy)]
struct Plan {
    every: Duration,
    most: usize,
    tcp_only: bool,
}

async fn pace(target: Target, plan: Plan, log: SharedLog) {
    let mut ticks = interval(plan.every);
    // Late ones are made up for at once: the pace is the same whatever happens.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let due = ticks.tick().await;
        if let Some(index) = begin(&mut lock(&log), due, plan.most) {
            tokio::spawn(attempt(target.clone(), plan.tcp_only, index, Arc::clone(&log)));
        }
    }
}

/// The attempt's place in the log, unless too many are under way.
fn begin(log: &mut Log, due: Instant, most: usize) -> Option<usize> {
    let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
    log.report.latest_us = log.report.latest_us.max(late);
    if log.under_way >= most {
        log.report.omitted += 1;
        return None;
    }
    log.under_way += 1;
    let begin_us = monotonic_us();
    log.report.attempts.push(Attempt { begin_us, took_us: 0, connect_us: None, end: End::Unfinished });
    Some(log.report.attempts.len() - 1)
}

async fn attempt(target: Target, tcp_only: bool, index: usize, log: SharedLog) {
    let exchange = async {
        let connected = target.connect().await?;
        let connect_us = u64::try_from(connected.took.as_micros()).unwrap_or(u64::MAX);
        record(&log, index, |attempt| attempt.connect_us = Some(connect_us));
        let peer = target.peer(&connected.stream)?;
        *lock(&log).report.peers.entry(peer.to_string()).or_default() += 1;
        if tcp_only { Ok(End::Connected) } else { ask(&target, connected.stream).await.map(End::Served) }
    };
    let end = match timeout(target.timeout, exchange).await {
        Ok(Ok(end)) => end,
        Ok(Err(Failure(error))) => End::Failed(error),
        Err(_) => End::Failed("timeout".into()),
    };
    record(&log, index, |attempt| {
        attempt.took_us = monotonic_us().saturating_sub(attempt.begin_us);
        attempt.end = end;
    });
    lock(&log).under_way -= 1;
}

fn record(log: &SharedLog, index: usize, change: impl FnOnce(&mut Attempt)) {
    // The report is gone once the client has begun to end.
    if let Some(attempt) = lock(log).report.attempts.get_mut(index) {
        change(attempt);
    }
}

/// A watch, put into the log when it opens and marked there when it ends.
async fn hold(target: Target, log: SharedLog) {
    let mut stream = match watch(&target).await {
        Ok(stream) => stream,
        Err(Failure(error)) => {
            let ended = Some((monotonic_us(), error));
            lock(&log).report.watches.push(Watched { server: None, ended });
            return;
        }
    };
    let index = {
        let watches = &mut lock(&log).report.watches;
        watches.push(Watched { server: Some(stream.by.clone()), ended: None });
        watches.len() - 1
    };
    loop {
        if let Err(Failure(error)) = stream.next().await {
            let ended = Some((monotonic_us(), error));
            if let Some(watch) = lock(&log).report.watches.get_mut(index) {
                watch.ended = ended;
            }
            return;
        }
    }
}

async fn tell(every: Duration, slow: Duration, log: SharedLog) {
    let slow_us = u64::try_from(slow.as_micros()).unwrap_or(u64::MAX);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let progress = progress(&lock(&log).report, monotonic_us(), slow_us);
        if let Ok(line) = serde_json::to_string(&progress) {
            println!("{line}");
        }
    }
}

fn progress(report: &Report, at_us: u64, slow_us: u64) -> Progress {
    let mut progress = Progress { at_us, ..Progress::default() };
    for attempt in &report.attempts {
        let waits = attempt.end == End::Unfinished && at_us.saturating_sub(attempt.begin_us) > slow_us;
        if waits || attempt.is_trouble(slow_us) {
            progress.last_trouble_us = Some(attempt.begin_us);
        }
        if let End::Served(server) = &attempt.end {
            progress.last_served_us.insert(server.clone(), attempt.begin_us);
        }
    }
    for watch in &report.watches {
        match (&watch.server, &watch.ended) {
            (Some(server), None) => *progress.watching.entry(server.clone()).or_default() += 1,
            _ => progress.ended += 1,
        }
    }
    progress
}

fn lock(log: &SharedLog) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_trouble_as_soon_as_it_takes_too_long() {
        let attempt = |begin_us, took_us, end| Attempt { begin_us, took_us, connect_us: None, end };
        let mut report = Report {
            attempts: vec![attempt(1_000, 400, End::Served("m1".into())), attempt(2_000, 0, End::Unfinished)],
            ..Report::default()
        };
        assert_eq!(progress(&report, 2_500, 500).last_trouble_us, None);
        assert_eq!(progress(&report, 2_501, 500).last_trouble_us, Some(2_000));
        report.attempts.push(attempt(2_600, 10, End::Failed("eof".into())));
        let progress = progress(&report, 2_700, 5_000);
        assert_eq!(progress.last_trouble_us, Some(2_600));
        assert_eq!(progress.last_served_us["m1"], 1_000);
    }
}
