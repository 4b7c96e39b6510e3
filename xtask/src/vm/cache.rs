//! Where kernels and the emulator's driver are kept: outside the work tree, shared by all of them.

use std::{
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::terminal;

/// `~/.cache/lbctl/vm`, or below what XDG_CACHE_HOME says (https://specifications.freedesktop.org/basedir-spec).
pub(super) fn dir() -> Result<PathBuf> {
    let from = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME")
        .or_else(|| Some(from("HOME")?.join(".cache")))
        .context("failed to find a directory for kernels: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("lbctl/vm"))
}

/// Makes the directory `to` by `work`, unless it is there: `work` fills another one, which then gets the name, so
/// that what has it is complete. Of several processes that want the same one does the work, and the others wait.
///
/// # Errors
/// When a file operation or `work` fails.
pub(super) fn once(to: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    make(to.parent().unwrap_or(to))?;
    let _turn = turn(&beside(to, ".lock"))?;
    if to.exists() {
        return Ok(());
    }
    let part = beside(to, ".part");
    remove(&part)?;
    make(&part)?;
    work(&part)?;
    fs::rename(&part, to).with_context(|| format!("failed to rename {} to {}", part.display(), to.display()))
}

/// `to` with more behind its name; an extension would take the place of a version's last number.
fn beside(to: &Path, more: &str) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// Locked as long as it is open.
fn turn(path: &Path) -> Result<File> {
    let failed = || format!("failed to lock {}", path.display());
    let file = File::create(path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            terminal::step(&format!("waiting for the process that holds {}", path.display()));
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    file.lock().with_context(failed)?;
    Ok(file)
}

/// Makes a directory and those above it.
pub(super) fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))
}

/// Removes a directory and everything in it, if it is there.
pub(super) fn remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    fs::remove_dir_all(dir).with_context(|| format!("failed to remove {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_half_way_is_not_taken_for_complete_and_is_made_anew() {
        let dir = env::temp_dir().join(format!("lbctl-cache-test-{}", std::process::id()));
        let to = dir.join("6.1");
        let failed = once(&to, |part| {
            fs::write(part.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err() && !to.exists());
        once(&to, |part| Ok(fs::write(part.join("whole"), "")?)).unwrap();
        assert!(to.join("whole").exists() && !to.join("half").exists());
        once(&to, |_| panic!("made twice")).unwrap();
        remove(&dir).unwrap();
    }
}
