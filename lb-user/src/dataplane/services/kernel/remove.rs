//! Removing pins: links first, so that nothing runs any more that is being taken apart.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use std::os::fd::AsFd as _;

use crate::{dataplane::DataplaneError, os::bpf};

/// Removes the layouts below `bpffs` that `which` picks, of those whose names are the letter and a number: `v1`, `v2` and so
/// on, with all that is pinned in them. Anything else there is somebody else's. Says what was removed.
pub fn remove_pins(
    bpffs: &Path,
    letter: char,
    which: impl Fn(&Path) -> bool,
) -> Result<Vec<String>, DataplaneError> {
    let Ok(entries) = fs::read_dir(bpffs) else {
        return Ok(Vec::new());
    };
    let layouts = entries.filter_map(Result::ok).map(|entry| entry.path());
    let layouts: Vec<_> = layouts.filter(|dir| is_layout(dir, letter) && which(dir)).collect();
    for layout in &layouts {
        detach_all(&layout.join("links"))?;
        remove_all(layout)?;
    }
    Ok(layouts.iter().map(|dir| dir.display().to_string()).collect())
}

fn is_layout(dir: &Path, letter: char) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(letter));
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

/// Detaches every link pinned below a directory of links, and removes the pins. For `lbctl cleanup` and for what an
/// older layout left.
fn detach_all(directory: &Path) -> Result<(), DataplaneError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    // Rewriting stops before what follows the connections goes.
    let mut pins: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    pins.sort_by_key(|path| !path.to_string_lossy().contains("connect"));
    for pin in pins {
        if let Ok(link) = bpf::object_get(&pin)
            && let Err(error) = bpf::link_detach(link.as_fd())
        {
            tracing::debug!(pin = %pin.display(), %error, "the link was detached already");
        }
        fs::remove_file(&pin).map_err(DataplaneError::failed("remove", pin.display().to_string()))?;
    }
    Ok(())
}
