//! containerd in a lab's node, with directories of its own, and the containers that it runs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::Lab;
use crate::process::{Finished, Proc};
use crate::wait::eventually;

/// It opens its databases and asks its plugins: half a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// SIGTERM to its end: it only closes its databases.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// SIGKILL to the removal of a container.
const REMOVE_DEADLINE: Duration = Duration::from_secs(10);

/// What a container has by default from ctr (github.com/containerd/containerd, oci/spec.go).
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A running containerd. Dropping it ends its containers, then itself.
pub struct Containerd<'lab> {
    lab: &'lab Lab,
    process: Proc,
    dir: PathBuf,
}

/// How a container is run. It has the node's network, a root that is read-only and containerd's default seccomp profile.
pub struct Container {
    /// Its name in the lab, unused so far.
    pub name: String,
    /// Its capabilities, `CAP_…`; it has no others.
    pub capabilities: Vec<String>,
    /// What of the host it sees.
    pub mounts: Vec<Mount>,
    /// More arguments for `ctr run`.
    pub more: Vec<String>,
}

/// A directory or file of the host in a container.
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may write there.
    pub writable: bool,
}

impl<'lab> Containerd<'lab> {
    /// Starts one. It has a mount namespace of its own, so that whatever it mounts vanishes with its last process; and all its
    /// processes live in the node's network namespace, with which they end.
    ///
    /// # Errors
    /// When it cannot be started or does not answer: quotes its log.
    pub fn start(lab: &'lab Lab) -> anyhow::Result<Self> {
        let dir = lab.dir().join("containerd");
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        let config = dir.join("config.toml");
        fs::write(&config, configuration(&dir)).with_context(|| format!("write {}", config.display()))?;
        let config = config.to_string_lossy();
        let arguments = ["--mount", "--propagation", "private", "containerd", "--config", &config];
        let process = lab.node().spawn(Path::new("unshare"), &arguments)?;
        let mut containerd = Self { lab, process, dir };
        let answered = eventually(START_DEADLINE, "containerd answers", || containerd.answers())?;
        ensure!(answered, "start containerd: it has ended; its log:\n{}", containerd.process.stderr());
        Ok(containerd)
    }

    /// Imports the images of a tar and returns their names.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub fn import(&self, tar: &Path) -> anyhow::Result<Vec<String>> {
        self.ctr(&["images", "import", &tar.to_string_lossy()])?.success().context("import the image")?;
        let names = self.ctr(&["images", "list", "--quiet"])?.success().context("list images")?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Starts a container, in a cgroup of its own beside the node's. The process returned has its output and its exit code,
    /// and passes signals on, but for SIGKILL.
    ///
    /// # Errors
    /// When ctr cannot be started.
    pub fn run(&self, image: &str, container: &Container, command: &[&str]) -> anyhow::Result<Proc> {
        let mut arguments = self.ctr_words();
        let fifos = self.dir.join("fifos");
        let options = ["run", "--rm", "--net-host", "--read-only", "--seccomp", "--fifo-dir"];
        arguments.extend(options.map(str::to_owned));
        arguments.push(fifos.to_string_lossy().into_owned());
        let id = self.lab.name().role(&container.name);
        arguments.extend(["--cgroup".to_owned(), format!("/{id}")]);
        arguments.extend(container.arguments());
        arguments.extend([image.to_owned(), id]);
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        self.lab.node().spawn(Path::new("env"), &arguments)
    }

    /// What the kernel says of a running container's process, proc_pid_status(5): one of the fields.
    ///
    /// # Errors
    /// When it does not run.
    pub fn status(&self, container: &Container, field: &str) -> anyhow::Result<String> {
        let id = self.lab.name().role(&container.name);
        let tasks = self.ctr(&["tasks", "list"])?.success().context("list the containers")?;
        let task = tasks.lines().find_map(|line| line.strip_prefix(&id));
        let pid = task.and_then(|task| task.split_whitespace().next());
        let pid = pid.with_context(|| format!("find {id} among the containers: {tasks}"))?;
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"));
        value.map(|value| value.trim().to_owned()).with_context(|| format!("find {field} in {path}"))
    }

    /// Runs `ctr` to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end; not when it exits with other than 0.
    pub fn ctr(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let mut all = vec!["env".to_owned()];
        all.extend(self.ctr_words());
        all.extend(words.iter().map(|&word| word.to_owned()));
        self.lab.node().run(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// ctr itself, for env(1): where the directory that this variable names is missing, as without a login, it gives up.
    fn ctr_words(&self) -> Vec<String> {
        let socket = socket(&self.dir).to_string_lossy().into_owned();
        ["--unset=XDG_RUNTIME_DIR", "ctr", "--address", &socket].map(str::to_owned).to_vec()
    }

    /// For polling: whether it answers (`false`: it never will), or why not yet.
    fn answers(&mut self) -> Result<bool, String> {
        if !self.process.is_running().map_err(|error| error.to_string())? {
            return Ok(false);
        }
        if !socket(&self.dir).exists() {
            return Err(format!("no socket yet; its log:\n{}", self.process.stderr()));
        }
        let answer = self.ctr(&["version"]).map_err(|error| format!("{error:#}"))?;
        answer.success().map(|_| true).map_err(|error| format!("{error:#}"))
    }

    /// The containers that are still there, most often none.
    fn remove_containers(&self) -> anyhow::Result<()> {
        let running = self.ctr(&["tasks", "list", "--quiet"])?.success()?;
        for name in running.lines() {
            // One that has ended meanwhile is what we want.
            let _ = self.ctr(&["tasks", "kill", "--signal", "SIGKILL", name])?;
            eventually(REMOVE_DEADLINE, "the container ends", || {
                let removed = self.ctr(&["tasks", "delete", "--force", name]);
                let gone = removed.map_err(|error| format!("{error:#}"))?;
                let is_gone = gone.status.success() || gone.stderr.contains("not found");
                if is_gone { Ok(()) } else { Err(gone.stderr) }
            })?;
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.remove_containers()?;
        self.process.signal(Signal::TERM)?;
        self.process.wait_deadline(STOP_DEADLINE)?;
        Ok(())
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of containerd ---\n{}", self.process.stderr());
        }
        if let Err(error) = self.stop() {
            eprintln!("failed to stop containerd: {error:#}");
        }
    }
}

impl Container {
    fn arguments(&self) -> Vec<String> {
        let without =
            DEFAULT_CAPABILITIES.iter().map(|name| ["--cap-drop".to_owned(), format!("CAP_{name}")]);
        let with = self.capabilities.iter().map(|name| ["--cap-add".to_owned(), name.clone()]);
        let mounts = self.mounts.iter().map(|mount| ["--mount".to_owned(), mount.written()]);
        without.chain(with).chain(mounts).flatten().chain(self.more.iter().cloned()).collect()
    }
}

impl Mount {
    fn written(&self) -> String {
        let access = if self.writable { "rw" } else { "ro" };
        let Self { source, target, .. } = self;
        format!("type=bind,src={},dst={},options=rbind:{access}", source.display(), target.display())
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

/// Everything below `dir`, and no plugin that serves kubelets or wants a directory elsewhere.
fn configuration(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {:?}\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
        path("root"),
        path("state"),
        socket(dir).display().to_string(),
        path("opt"),
    )
}
