//! A bpffs mount that vanishes when dropped, and with it every pin.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A bpffs of its own.
#[derive(Debug)]
pub struct Bpffs {
    path: PathBuf,
}

impl Bpffs {
    /// Mounts a bpffs on the directory `path`, making it if need be.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or in a kernel without BPF.
    pub fn mount(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        mount("bpf", &path, "bpf", MountFlags::empty(), c"mode=0700")
            .with_context(|| format!("mount a bpffs on {}", path.display()))?;
        Ok(Self { path })
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Lazily: a process about to be reaped may still hold a file below.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("failed to unmount {}: {error}", self.path.display());
        }
    }
}
