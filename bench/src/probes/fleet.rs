//! Thousands of agents in one process: all come at once, and then probe as agents do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::{Stretch, Took};
use super::peer::{Peer, Target};
use crate::usage;

/// The agent's defaults.
const HEARTBEAT: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_secs(2);
/// Times between questions vary by so much in either direction, as the agent's do.
const JITTER: f64 = 0.1;
/// Where the agent begins to doubt a master, three fifths of the heartbeat.
const LATE: Duration = Duration::from_millis(300);

/// Flags of `bench probes-client ... fleet`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many agents
    #[arg(long, default_value_t = 5_000)]
    pub(super) connections: u32,
    /// How many of them shake hands at the same time
    #[arg(long, default_value_t = 64)]
    concurrency: u32,
    /// How long they probe
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// What a fleet of agents did to one master.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// How many agents came.
    pub agents: u32,
    /// How many shook hands at the same time.
    pub concurrency: u32,
    /// From the first connect to the last handshake.
    pub storm: Took,
    /// Agents that were not let in, and why the first of them was not.
    pub turned_away: u32,
    /// The first error of those, if any.
    pub first_error: Option<String>,
    /// While those that were let in probed.
    pub steady: Took,
    /// What they saw.
    pub answers: Answers,
    /// The master's resident memory before anybody came, in bytes.
    pub empty_resident: u64,
    /// The master's resident memory with all of them, in bytes.
    pub resident: u64,
}

/// What became of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// PINGs answered.
    pub pings: u64,
    /// GETs of /readyz answered.
    pub readyz: u64,
    /// Answers that took longer than 300 ms.
    pub late: u64,
    /// Questions without an answer in 5 s, each the end of its connection.
    pub lost: u64,
    /// Half of the answers took no longer, in microseconds.
    pub p50_us: u32,
    /// 99 of 100 took no longer, in microseconds.
    pub p99_us: u32,
    /// The slowest answer, in microseconds.
    pub worst_us: u32,
}

/// An answer, or that it did not come.
struct Asked {
    is_ping: bool,
    took: Option<Duration>,
}

pub(super) async fn run(target: &Target, args: &Args, server: u32) -> anyhow::Result<Fleet> {
    let empty_resident = usage::memory(&[server])?.resident;
    let stretch = Stretch::begin(server);
    let (peers, errors) = open_all(target, args).await;
    let storm = stretch.end();

    let stretch = Stretch::begin(server);
    let (peers, asked) = probe_all(peers, Duration::from_secs(args.seconds)).await;
    let steady = stretch.end();
    let resident = usage::memory(&[server])?.resident;
    drop(peers);
    Ok(Fleet {
        agents: args.connections,
        concurrency: args.concurrency,
        storm,
        turned_away: u32::try_from(errors.len()).context("count those turned away")?,
        first_error: errors.into_iter().next(),
        steady,
        answers: Answers::of(&asked),
        empty_resident,
        resident,
    })
}

/// As fast as the master answers, so many at a time. Gives the connections, and why others did not come about.
async fn open_all(target: &Target, args: &Args) -> (Vec<Peer>, Vec<String>) {
    let left = Arc::new(AtomicU32::new(args.connections));
    let mut workers = JoinSet::new();
    for _ in 0..args.concurrency {
        let (target, left) = (target.clone(), Arc::clone(&left));
        workers.spawn(async move {
            let mut opened = Vec::new();
            while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                opened.push(target.open().await);
            }
            opened
        });
    }
    let (mut peers, mut errors) = (Vec::new(), Vec::new());
    for outcome in workers.join_all().await.into_iter().flatten() {
        match outcome {
            Ok(peer) => peers.push(peer),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    (peers, errors)
}

/// Gives the connections back, so that they are open until the caller has looked at the master.
async fn probe_all(peers: Vec<Peer>, duration: Duration) -> (Vec<Peer>, Vec<Asked>) {
    let end = Instant::now() + duration;
    let agents: JoinSet<_> = peers.into_iter().map(|peer| probe(peer, end)).collect();
    let (mut peers, mut all) = (Vec::new(), Vec::new());
    for (peer, asked) in agents.join_all().await {
        peers.push(peer);
        all.extend(asked);
    }
    (peers, all)
}

/// One agent, which begins at a time of its own.
async fn probe(mut peer: Peer, end: Instant) -> (Peer, Vec<Asked>) {
    let began = Instant::now();
    let mut next_ping = began + HEARTBEAT.mul_f64(fastrand::f64());
    let mut next_readyz = began + INTERVAL.mul_f64(fastrand::f64());
    let mut asked = Vec::new();
    loop {
        let is_ping = next_ping <= next_readyz;
        let next = next_ping.min(next_readyz);
        if next >= end {
            return (peer, asked);
        }
        sleep_until(next).await;
        let question = Instant::now();
        let answer = if is_ping { peer.ping().await } else { peer.readyz().await };
        let took = answer.is_ok().then(|| question.elapsed());
        asked.push(Asked { is_ping, took });
        if took.is_none() {
            return (peer, asked);
        }
        let (next, period) = if is_ping { (&mut next_ping, HEARTBEAT) } else { (&mut next_readyz, INTERVAL) };
        *next += period.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
    }
}

impl Answers {
    fn of(asked: &[Asked]) -> Self {
        let answered = |is_ping| {
            asked.iter().filter(|asked| asked.is_ping == is_ping && asked.took.is_some()).count() as u64
        };
        let mut times: Vec<Duration> = asked.iter().filter_map(|asked| asked.took).collect();
        times.sort_unstable();
        let micros = |time: Option<&Duration>| {
            time.map_or(0, |time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
        };
        Self {
            pings: answered(true),
            readyz: answered(false),
            late: times.iter().filter(|time| **time > LATE).count() as u64,
            lost: (asked.len() - times.len()) as u64,
            p50_us: micros(times.get(times.len() / 2)),
            p99_us: micros(times.get(times.len() * 99 / 100)),
            worst_us: micros(times.last()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_in_time_late_or_lost() {
        let asked = |is_ping, ms: Option<u64>| Asked { is_ping, took: ms.map(Duration::from_millis) };
        let all = [asked(true, Some(1)), asked(true, Some(301)), asked(false, Some(300)), asked(false, None)];
        let answers = Answers::of(&all);
        assert_eq!((answers.pings, answers.readyz), (2, 1));
        assert_eq!((answers.late, answers.lost), (1, 1));
        assert_eq!((answers.p50_us, answers.worst_us), (300_000, 301_000));
        assert_eq!(Answers::of(&[]), Answers::default());
    }
}
