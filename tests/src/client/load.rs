//! `load`: many clients that open connections in a loop, beside some that hold one.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::dial::{Failure, Target};
use super::exchange::{watch as open_watch, whoami};
use super::tally::Tally;
use super::{Endpoint, TlsOptions, duration, millis};
use crate::slowness::stretched;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How many clients open connections at the same time
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// How long; SIGTERM ends it sooner
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// A client's rest between two connections
    #[arg(long, default_value = "0ms", value_parser = duration)]
    pause: Duration,
    /// How many connections to hold open all the while, receiving /watch
    #[arg(long, default_value_t = 4)]
    held: u32,
    /// Print the counts so far at this interval, one JSON line each, before the closing report
    #[arg(long, value_parser = duration)]
    progress: Option<Duration>,
    /// End, and report, when stdin closes
    #[arg(long)]
    until_stdin_closes: bool,
}

/// What became of one held connection.
#[derive(Default)]
struct Held {
    server: Option<String>,
    longest_gap: Duration,
    ended: Option<(Instant, Failure)>,
}

pub(super) async fn run(args: Args, tls: &TlsOptions) -> anyhow::Result<()> {
    let target = args.endpoint.target(tls).await?;
    let (started, started_unix) = (Instant::now(), SystemTime::now());
    let tally = Arc::new(Mutex::new(Tally::new(started)));
    let stop = watch::Sender::new(false);

    let mut held = JoinSet::new();
    for _ in 0..args.held {
        held.spawn(hold(target.clone(), stop.subscribe()));
    }
    let mut clients = JoinSet::new();
    for _ in 0..args.clients {
        clients.spawn(client(target.clone(), stretched(args.pause), Arc::clone(&tally), stop.subscribe()));
    }
    if let Some(period) = args.progress {
        tokio::spawn(print_progress(stretched(period), Arc::clone(&tally)));
    }
    wait_for_end(&args).await?;
    stop.send_replace(true);
    while clients.join_next().await.is_some() {}
    let held = held.join_all().await;

    let mut report = tally.lock().unwrap_or_else(PoisonError::into_inner).report();
    report["startedUnixMs"] =
        json!(millis(started_unix.duration_since(UNIX_EPOCH).context("read the clock")?));
    report["durationMs"] = json!(millis(started.elapsed()));
    report["held"] = held_report(started, &held);
    println!("{report}");
    Ok(())
}

async fn wait_for_end(args: &Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let (closed, stdin_closed) = oneshot::channel();
    let closed = if args.until_stdin_closes { watch_stdin(closed) } else { Some(closed) };
    tokio::select! {
        () = sleep(args.duration) => {}
        _ = terminate.recv() => {}
        _ = stdin_closed => {}
    }
    drop(closed);
    Ok(())
}

/// Reports through `closed` when stdin ends. The thread is left behind in its read when something else ends the run.
fn watch_stdin(closed: oneshot::Sender<()>) -> Option<oneshot::Sender<()>> {
    std::thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        // The receiver is gone when the run is over already.
        let _ = closed.send(());
    });
    None
}

async fn client(target: Target, pause: Duration, tally: Arc<Mutex<Tally>>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let began = Instant::now();
        let outcome = whoami(&target).await;
        let failed = outcome.is_err();
        tally.lock().unwrap_or_else(PoisonError::into_inner).record(began, outcome);
        // A refusal takes microseconds: without a rest the clients would spin and starve what they test.
        sleep(if failed { pause.max(Duration::from_millis(1)) } else { pause }).await;
    }
}

async fn hold(target: Target, mut stop: watch::Receiver<bool>) -> Held {
    let mut held = Held::default();
    let mut stream = match open_watch(&target).await {
        Ok(stream) => stream,
        Err(failure) => {
            held.ended = Some((Instant::now(), failure));
            return held;
        }
    };
    held.server = Some(stream.by.clone());
    let mut last = Instant::now();
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            _ = stop.wait_for(|stop| *stop) => {
                held.longest_gap = held.longest_gap.max(last.elapsed());
                return held;
            }
        };
        held.longest_gap = held.longest_gap.max(last.elapsed());
        last = Instant::now();
        if let Err(failure) = next {
            held.ended = Some((last, failure));
            return held;
        }
    }
}

async fn print_progress(period: Duration, tally: Arc<Mutex<Tally>>) {
    let mut ticks = interval(period);
    loop {
        ticks.tick().await;
        println!("{}", tally.lock().unwrap_or_else(PoisonError::into_inner).progress());
    }
}

fn held_report(started: Instant, all: &[Held]) -> Value {
    let broken: Vec<Value> = all
        .iter()
        .filter_map(|held| {
            let (at, failure) = held.ended.as_ref()?;
            let at = millis(at.saturating_duration_since(started));
            Some(json!({"server": held.server, "atMs": at, "error": failure.to_string()}))
        })
        .collect();
    let mut servers = BTreeMap::<&str, u64>::new();
    for server in all.iter().filter_map(|held| held.server.as_deref()) {
        *servers.entry(server).or_default() += 1;
    }
    let gap = all.iter().map(|held| held.longest_gap).max().unwrap_or_default();
    json!({
        "open": all.len() - broken.len(),
        "broken": broken.len(),
        "maxGapMs": millis(gap),
        "brokenAtMs": broken.iter().map(|entry| entry["atMs"].clone()).collect::<Vec<_>>(),
        "servers": servers,
        "ends": broken,
    })
}
