//! Removing pins: links first, so that nothing runs any more that is being taken apart.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::links;
use crate::dataplane::DataplaneError;

/// Removes the layouts below `bpffs` that `which` picks: `v1`, `v2` and so on, with all that is pinned in them.
/// Anything else there is somebody else's. Says what was removed.
pub fn remove_pins(bpffs: &Path, which: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataplaneError> {
    let Ok(entries) = fs::read_dir(bpffs) else {
        return Ok(Vec::new());
    };
    let layouts = entries.filter_map(Result::ok).map(|entry| entry.path());
    let layouts: Vec<_> = layouts.filter(|dir| is_layout(dir) && which(dir)).collect();
    for layout in &layouts {
        links::detach_all(&layout.join("links"))?;
        remove_all(layout)?;
    }
    Ok(layouts.iter().map(|dir| dir.display().to_string()).collect())
}

fn is_layout(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('v'));
    name.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        && dir.is_dir()
}

fn remove_all(dir: &Path) -> Result<(), DataplaneError> {
    let failed = |path: &PathBuf| DataplaneError::failed("remove", path.display().to_string());
    let entries = fs::read_dir(dir).map_err(failed(&dir.to_owned()))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            remove_all(&path)?;
        } else {
            fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&dir.to_owned())(error)),
        _ => Ok(()),
    }
}
