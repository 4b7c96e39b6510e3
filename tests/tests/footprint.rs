//! What the agent costs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::agent::running;
use common::lab;
use common::load::figure;
use common::quiet::{alone, beside_others};
use lb_tests::{Lab, binaries};

/// Several rounds of everything that the agent does now and then.
const PERIOD: Duration = Duration::from_secs(15);
/// Periods in which neither bound holds are repeated, up to so many.
const MOST_PERIODS: u32 = 4;
const MAX_CPU_PERCENT: f64 = 0.2;
/// Where [`bare_client`] takes less than this, nothing but [`MAX_CPU_PERCENT`] counts. Seen then: 0.106 to 0.144.
const QUICK_PERCENT: f64 = 0.045;
/// Where waking a halted processor is dear, as in many virtual machines, nobody who wakes several times a second stays
/// below [`MAX_CPU_PERCENT`]. There the agent may need so many times what [`bare_client`] needs, which sends and receives
/// as often and does nothing else, without TLS and without a network in between. Seen: 2.9 to 7.8 on one and the same
/// machine, while both varied by a factor of three.
const MAX_RATIO: f64 = 8.0;
/// How often the agent may be woken in a second, which hardly depends on the machine's speed: 2 rounds of messages, each
/// with a wake-up to send and up to three for the answers (9), and a look at the kernel every 5 s (1). Seen: 5.9 to 8.1.
const MAX_WAKE_UPS: f64 = 11.0;
const MAX_RSS_KIB: u64 = 12 * 1024;
/// Of a build with debug assertions and without optimization, whose figures say nothing about the product.
const MAX_DEBUG_RSS_KIB: u64 = 64 * 1024;

/// CPU time used so far by everything in the node's cgroup, to the microsecond. Counted with and without the controller
/// `cpu`, cgroup-v2.rst.
fn cpu_time(lab: &Lab) -> Duration {
    let stat = fs::read_to_string(lab.node().cgroup().path().join("cpu.stat")).unwrap();
    let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    Duration::from_micros(usage.parse().unwrap())
}

/// What a period took, in percent of a core.
#[derive(Clone, Copy)]
struct Cost {
    agent: f64,
    bare_client: f64,
    /// Of the agent, in a second.
    wake_ups: f64,
}

impl Cost {
    fn of_a_period(lab: &Lab, agent: u32) -> Self {
        let (began, cpu, sleeps) = (Instant::now(), cpu_time(lab), sleeps(agent));
        // What it costs to do nothing cannot be seen in less time.
        let bare = bare_client(PERIOD);
        let seconds = began.elapsed().as_secs_f64();
        let percent = |used: Duration| 100.0 * used.as_secs_f64() / seconds;
        Self {
            agent: percent(cpu_time(lab) - cpu),
            bare_client: percent(bare),
            wake_ups: slept_since(&sleeps, agent) as f64 / seconds,
        }
    }

    fn is_within_bounds(self) -> bool {
        let is_slow = self.bare_client >= QUICK_PERCENT;
        self.agent < MAX_CPU_PERCENT || is_slow && self.agent < MAX_RATIO * self.bare_client
    }
}

/// The first period that is within bounds, else the last.
fn cost(lab: &Lab, agent: u32) -> Cost {
    let mut periods = (0..MOST_PERIODS).map(|_| Cost::of_a_period(lab, agent));
    let first = periods.next().unwrap();
    if first.is_within_bounds() {
        first
    } else {
        periods.find(|cost| cost.is_within_bounds()).unwrap_or(first)
    }
}

/// Exchanges as many small messages with three peers as the agent does with three backends at default settings, 3 pings
/// and a probe each in two seconds, and tells the time that its end took.
fn bare_client(period: Duration) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = [(); 3].map(|()| {
        let stream = TcpStream::connect(address).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        thread::spawn(move || {
            let mut message = MESSAGE;
            while peer.read_exact(&mut message).is_ok() {
                peer.write_all(&message).unwrap();
            }
        });
        stream
    });
    let (began, cpu) = (Instant::now(), thread_cpu_time());
    while began.elapsed() < period {
        thread::sleep(Duration::from_millis(500));
        streams.iter_mut().for_each(|stream| stream.write_all(&MESSAGE).unwrap());
        streams.iter_mut().for_each(|stream| stream.read_exact(&mut MESSAGE.clone()).unwrap());
    }
    thread_cpu_time() - cpu
}

/// As long as an HTTP/2 ping in a TLS record.
const MESSAGE: [u8; 39] = [0; 39];

/// The first number of `schedstat`, sched-stats.rst.
fn thread_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// How often each thread of a process went to sleep so far; proc_pid_status(5).
fn sleeps(pid: u32) -> BTreeMap<OsString, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap);
    let sleeps = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // A thread may end meanwhile.
    let read = |thread: fs::DirEntry| {
        Some((thread.file_name(), sleeps(&fs::read_to_string(thread.path().join("status")).ok()?)))
    };
    threads.filter_map(read).collect()
}

/// Of the threads that there are now.
fn slept_since(before: &BTreeMap<OsString, u64>, pid: u32) -> u64 {
    sleeps(pid).iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0)).sum()
}

/// The only process of the node that still runs, so that its time is the cgroup's.
fn only_process(lab: &Lab) -> u32 {
    let procs = fs::read_to_string(lab.node().cgroup().procs()).unwrap();
    let [pid]: [u32; 1] =
        procs.lines().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    pid
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Whether the binary under test is one that was built for release: it asks for no dynamic loader.
fn is_release() -> bool {
    std::env::var_os(binaries::LBCTL_BIN).is_some()
        && !asks_for_a_loader(&fs::read(binaries::lbctl().unwrap()).unwrap())
}

/// Whether a 64-bit little-endian ELF file has a program header of type `PT_INTERP`, elf(5).
fn asks_for_a_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let table = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    let (size, count) = (half(54), half(56));
    let kind = |index: usize| u32::from_le_bytes(elf[table + index * size..][..4].try_into().unwrap());
    (0..count).any(|index| kind(index) == PT_INTERP)
}

#[test]
fn only_a_dynamic_binary_asks_for_a_loader() {
    let _turn = beside_others();
    assert!(asks_for_a_loader(&fs::read("/bin/sh").unwrap()));
}

#[test]
fn the_idle_agent_needs_less_than_12_mib_and_a_five_hundredth_of_a_core() {
    let _turn = alone();
    let Some(lab) = lab(3) else { return };
    let agent = running(&lab);
    assert_eq!(only_process(&lab), agent.pid());
    let cost = cost(&lab, agent.pid());
    let rss = rss_kib(agent.pid());
    let Cost { agent: percent, bare_client, wake_ups } = cost;
    figure(&format!(
        "{rss} KiB resident, {percent:.3} % of a core, {wake_ups:.1} wake-ups a second, three backends, default settings; \
         a bare client that exchanges as many messages: {bare_client:.3} %"
    ));
    if is_release() {
        assert!(rss < MAX_RSS_KIB, "{rss} KiB resident");
        assert!(cost.is_within_bounds(), "{percent:.3} % of a core, a bare client {bare_client:.3} %");
        assert!(wake_ups < MAX_WAKE_UPS, "{wake_ups:.1} wake-ups a second");
    } else {
        figure("this is not the static release binary: only a bound of 64 MiB is checked");
        assert!(rss < MAX_DEBUG_RSS_KIB, "{rss} KiB resident");
    }
}
