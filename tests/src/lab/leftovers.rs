//! What a lab should have removed.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::cgroup;
use crate::name::LabName;

/// Namespaces, cgroups, mounts and temporary directories that carry the name of a lab.
///
/// # Errors
/// When one of the places cannot be read.
pub fn leftovers(name: &LabName) -> anyhow::Result<Vec<String>> {
    let prefix = name.role("");
    let mut found = Vec::new();
    for directory in [Path::new("/run/netns"), &cgroup::root()?, &std::env::temp_dir()] {
        let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", directory.display()))?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    found.extend(mounts.lines().filter(|line| line.contains(&prefix)).map(str::to_owned));
    Ok(found)
}
