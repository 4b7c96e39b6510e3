//! What the agent costs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::agent::running;
use common::lab;
use common::load::figure;
use common::quiet::{alone, beside_others};
use lb_tests::{Lab, binaries};

/// Several rounds of everything that the agent does now and then.
const PERIOD: Duration = Duration::from_secs(15);
/// A busy machine makes the same work dearer (cold caches, a core that is shared), never cheaper: the cheapest of so many
/// periods is nearest to what the agent itself needs.
const MOST_PERIODS: u32 = 6;
const MAX_CPU_PERCENT: f64 = 0.2;
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

/// Percent of a core, in the first period that is within bounds, else in the cheapest.
fn least_cpu_percent(lab: &Lab) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..MOST_PERIODS {
        let (began, cpu) = (Instant::now(), cpu_time(lab));
        // What it costs to do nothing cannot be seen in less time.
        std::thread::sleep(PERIOD);
        let percent = 100.0 * (cpu_time(lab) - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        least = least.min(percent);
        if least < MAX_CPU_PERCENT {
            break;
        }
    }
    least
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
    let percent = least_cpu_percent(&lab);
    let rss = rss_kib(agent.pid());
    figure(&format!("{rss} KiB resident, {percent:.3} % of a core, three backends, default settings"));
    if is_release() {
        assert!(rss < MAX_RSS_KIB, "{rss} KiB resident");
        assert!(percent < MAX_CPU_PERCENT, "{percent:.2} % of a core");
    } else {
        figure("this is not the static release binary: only a bound of 64 MiB is checked");
        assert!(rss < MAX_DEBUG_RSS_KIB, "{rss} KiB resident");
    }
}
