//! The commit that is packed.

use std::env;

use crate::process;

/// Seconds since 1970: what SOURCE_DATE_EPOCH says (<https://reproducible-builds.org/specs/source-date-epoch/>), else the
/// commit's date; 0 outside a git work tree.
pub(crate) fn date() -> u64 {
    let from_environment = || env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok();
    let from_commit = || git(&["log", "-1", "--format=%ct"])?.parse().ok();
    from_environment().or_else(from_commit).unwrap_or(0)
}

/// The commit's full name. None outside a git work tree, and where the files are not those of the commit.
pub(crate) fn revision() -> Option<String> {
    let changes = git(&["status", "--porcelain"])?;
    changes.is_empty().then(|| git(&["rev-parse", "HEAD"])).flatten()
}

fn git(arguments: &[&str]) -> Option<String> {
    let out = process::capture(process::command("git").args(arguments)).ok()?;
    Some(out.trim().to_owned())
}
