//! What processes use: time on a processor, and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// Time that the processes' threads have spent on a processor so far; threads that have ended are not counted.
#[must_use]
pub fn cpu_time(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| threads_time(*pid)).sum()
}

/// Time that one thread of the calling process has spent on a processor so far.
///
/// # Errors
/// When there is no such thread.
pub fn thread_time(thread: i32) -> anyhow::Result<Duration> {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    on_processor(&stat).with_context(|| format!("find the time in {path}"))
}

/// What of it the calling process has spent, ended threads included.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // The clock begins at 0 with the process and is normalised.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The kernel's threads for packets that no process handles on its own time.
///
/// # Errors
/// When /proc cannot be listed.
pub fn softirq_threads() -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("list /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with("ksoftirqd/"))
    };
    Ok(pids.filter(is_it).collect())
}

/// Memory of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident; what several of them share is counted for each.
    pub resident: u64,
    /// Resident; what several share is divided among them.
    pub proportional: u64,
}

/// What the processes have in memory.
///
/// # Errors
/// When one of them is gone.
pub fn memory(pids: &[u32]) -> anyhow::Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        sum.resident += kibibytes(&text, "Rss:").with_context(|| format!("find Rss in {path}"))? << 10;
        sum.proportional += kibibytes(&text, "Pss:").with_context(|| format!("find Pss in {path}"))? << 10;
    }
    Ok(sum)
}

fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A process that is gone uses nothing.
fn threads_time(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
    stats.filter_map(|stat| on_processor(&stat)).sum()
}

/// Nanoseconds on a processor, nanoseconds waiting for one, number of turns: sched-stats.rst.
fn on_processor(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_used_time_and_memory() {
        let own = [std::process::id()];
        assert!(own_cpu_time() > Duration::ZERO);
        let memory = memory(&own).unwrap();
        assert!(memory.resident >= memory.proportional && memory.proportional > 0, "{memory:?}");
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing() {
        // Above the highest that a kernel gives out.
        assert_eq!(cpu_time(&[u32::MAX]), Duration::ZERO);
        assert!(memory(&[u32::MAX]).is_err());
    }

    #[test]
    fn fields_of_the_rollup_are_kibibytes() {
        let text =
            "00400000-7fff ---p 00000000 00:00 0    [rollup]\nRss:  1892 kB\nPss:   12 kB\nPss_Dirty: 3 kB\n";
        assert_eq!((kibibytes(text, "Rss:"), kibibytes(text, "Pss:")), (Some(1892), Some(12)));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }
}
