//! Files beside the state file: those that were set aside, and what a killed process left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::TEMPORARY;

/// How the names of files that were set aside begin; the unix time in seconds follows.
const CORRUPT: &str = "state.json.corrupt-";

/// How many are kept: enough to see that it happened again, with 1 MiB each in the usual case.
const KEPT: usize = 3;

/// Renames the state file, and deletes what was set aside before the newest [`KEPT`]. Returns the new path.
pub(super) fn set_aside(dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut times = times(dir);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = next(now, &times);
    let kept = dir.join(format!("{CORRUPT}{time}"));
    fs::rename(path, &kept)?;
    times.push(time);
    for old in surplus(times) {
        // Nothing depends on it, and the next time tries again. What is not a file is not ours to delete.
        let _ = fs::remove_file(dir.join(format!("{CORRUPT}{old}")));
    }
    Ok(kept)
}

/// Deletes temporary files of a process that was killed while writing. That it fails is no reason not to go on.
pub(super) fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn times(dir: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| time_in(entry.file_name().to_str()?)).collect()
}

fn time_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(CORRUPT)?;
    let time = digits.parse().ok()?;
    (format!("{time}") == digits).then_some(time)
}

/// The present, but after all the others: they may be of the same second, or from before the clock was set back.
fn next(now: u64, times: &[u64]) -> u64 {
    times.iter().map(|time| time.saturating_add(1)).fold(now, u64::max)
}

fn surplus(mut times: Vec<u64>) -> Vec<u64> {
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.split_off(KEPT.min(times.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_after_all_others_whatever_the_clock_says() {
        assert_eq!(next(100, &[]), 100);
        assert_eq!(next(100, &[7, 99]), 100);
        assert_eq!(next(100, &[100, 7]), 101);
        assert_eq!(next(0, &[1_700_000_000]), 1_700_000_001);
    }

    #[test]
    fn the_newest_three_stay() {
        assert_eq!(surplus(vec![5, 1, 4, 2, 3]), [2, 1]);
        assert!(surplus(vec![5, 1, 4]).is_empty());
    }

    #[test]
    fn only_our_own_names_count() {
        assert_eq!(time_in("state.json.corrupt-1700000000"), Some(1_700_000_000));
        for name in ["state.json", "state.json.corrupt-", "state.json.corrupt-+1", "state.json.corrupt-01"] {
            assert_eq!(time_in(name), None, "{name}");
        }
    }
}
