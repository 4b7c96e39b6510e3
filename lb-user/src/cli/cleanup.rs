use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use clap::Args;
use lb_core::config::Overrides;
use serde::Serialize;

use super::{
    exit::Exit,
    globals::Globals,
    known::{self, Known, Paths},
    print,
};
use crate::{
    admin::{Client, ClientError},
    dataplane,
    os::{
        hosts::{HostsFile, How, Outcome},
        lock::{self, LockError},
    },
};

/// Remove everything the agent ever made on this node, and nothing else
///
/// That is: its entry in the hosts file, what it pinned in the kernel, its files in the state directory, a socket that
/// a killed agent left. Established connections stay. The agent must not be running. Safe to run twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  systemctl stop lbctl && lbctl cleanup
  lbctl cleanup --bpffs /sys/fs/bpf/other

Where the config is missing or wrong, the paths that can still be read in it are used, else the default ones.")]
pub(super) struct Cleanup {
    /// Where programs, links and maps are pinned [default: the config's]
    #[arg(long, value_name = "PATH", env = "LBCTL_BPFFS", hide_env = true)]
    bpffs: Option<String>,
    /// Where the agent keeps its state [default: the config's]
    #[arg(long, value_name = "PATH", env = "LBCTL_STATE_DIR", hide_env = true)]
    state_dir: Option<String>,
    /// The hosts file [default: the config's]
    #[arg(long, value_name = "PATH", env = "LBCTL_HOSTS_PATH", hide_env = true)]
    hosts_path: Option<String>,
}

/// The agent's own file in the state directory.
const STATE: &str = "state.json";

/// How the name of a state file begins that was set aside; behind a dot, of one that was to take its place.
const STATE_ASIDE: &str = "state.json.";

/// The directory that is made for the admin socket by default. One that was named in the config may be anybody's.
const RUN_DIRECTORY: &str = "/run/lbctl";

/// The hint of every refusal.
const STOP_FIRST: &str = "hint: stop it first (systemctl stop lbctl), then run lbctl cleanup again";

#[derive(Default, Serialize)]
struct View {
    removed: Vec<String>,
}

impl Cleanup {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let Self { bpffs, state_dir, hosts_path } = self;
        let admin_socket = globals.admin_socket.clone();
        let overrides = Overrides { bpffs, state_dir, hosts_path, admin_socket, ..Overrides::default() };
        clean(&Known::find(globals.config.as_deref(), overrides)?.paths, globals)
    }
}

/// Removes what an agent with these paths left.
pub(super) fn clean(paths: &Paths, globals: &Globals) -> anyhow::Result<Exit> {
    refuse_while_running(paths).context("failed to clean up")?;
    let mut view = View::default();
    // The name first: from then on clients look elsewhere. A step that fails keeps none of the others back.
    let steps = [hosts_entry, kernel_state, state_files, socket];
    let failures = steps.into_iter().filter_map(|step| step(paths, &mut view.removed).err());
    let mut failures: Vec<_> = failures.collect();
    let lines: String = view.removed.iter().map(|what| format!("removed {what}\n")).collect();
    let nothing = view.removed.is_empty() && failures.is_empty();
    print::data(globals.output, &view, if nothing { "nothing to remove\n" } else { &lines })?;
    let Some(last) = failures.pop() else { return Ok(Exit::Done) };
    failures.iter().for_each(print::error);
    Err(last)
}

/// Fails when an agent answers or holds its lock: it would put back at once what is removed.
fn refuse_while_running(paths: &Paths) -> anyhow::Result<()> {
    let socket = &paths.admin_socket;
    match known::wait_for(Client::new(socket).status())? {
        Err(ClientError::NotRunning { .. }) => {}
        Ok(status) => bail!("the agent is running, pid {}; {STOP_FIRST}", status.agent.pid),
        Err(
            error @ (ClientError::Api { .. } | ClientError::Timeout { .. } | ClientError::BadAnswer { .. }),
        ) => {
            return Err(error).context(format!("somebody listens on {}; {STOP_FIRST}", socket.display()));
        }
        Err(
            error @ (ClientError::PermissionDenied { .. }
            | ClientError::PathTooLong { .. }
            | ClientError::Connect { .. }),
        ) => return Err(error.into()),
    }
    let locks = [lock::acquire(&paths.bpffs), lock::acquire_present(&paths.state_dir.join(lock::FILE))];
    for locked in locks {
        match locked {
            Ok(_) => {}
            Err(LockError::Open { source, .. }) if is_absent(&source) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn hosts_entry(paths: &Paths, removed: &mut Vec<String>) -> anyhow::Result<()> {
    let outcome = HostsFile::new(&paths.hosts).remove().context("failed to remove the hosts entry")?;
    let path = paths.hosts.display();
    match outcome {
        Outcome::Unchanged => {}
        Outcome::Written(How::Renamed | How::InPlace) => removed.push(format!("the entry in {path}")),
        Outcome::Written(How::Deleted) => removed.push(format!("{path}, which lbctl had made")),
    }
    Ok(())
}

fn kernel_state(paths: &Paths, removed: &mut Vec<String>) -> anyhow::Result<()> {
    let failed = "failed to remove what is in the kernel";
    let exists = paths.bpffs.try_exists();
    exists.with_context(|| format!("{failed}: look at {}", paths.bpffs.display()))?;
    removed.extend(dataplane::cleanup(&paths.bpffs, &paths.state_dir).context(failed)?);
    Ok(())
}

fn state_files(paths: &Paths, removed: &mut Vec<String>) -> anyhow::Result<()> {
    let dir = &paths.state_dir;
    let failed = |path: &Path| format!("failed to remove {}", path.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(()),
        entries => entries.with_context(|| failed(dir))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| failed(dir))?;
        let (name, path) = (entry.file_name(), entry.path());
        let own =
            name.to_str().is_some_and(|n| n == STATE || n.trim_start_matches('.').starts_with(STATE_ASIDE));
        let is_lock = name == lock::FILE;
        if (own || is_lock) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::remove_file(&path).with_context(|| failed(&path))?;
            // It says nothing, and only its folder is worth a line.
            removed.extend((!is_lock).then(|| path.display().to_string()));
        }
    }
    remove_empty(dir, removed)
}

fn socket(paths: &Paths, removed: &mut Vec<String>) -> anyhow::Result<()> {
    let path = &paths.admin_socket;
    let failed = || format!("failed to remove {}", path.display());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(path).with_context(failed)?;
            removed.push(path.display().to_string());
        }
        // Something else has that name, and is not ours.
        Ok(_) => {}
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error).with_context(failed),
    }
    match path.parent() {
        Some(parent) if parent == Path::new(RUN_DIRECTORY) => remove_empty(parent, removed),
        Some(_) | None => Ok(()),
    }
}

/// Removes a directory unless somebody has put something into it, or has mounted something on it.
fn remove_empty(dir: &Path, removed: &mut Vec<String>) -> anyhow::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => removed.push(dir.display().to_string()),
        Err(error) if is_absent(&error) => {}
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {}
        Err(error) => return Err(error).with_context(|| format!("failed to remove {}", dir.display())),
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
