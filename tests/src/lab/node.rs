//! The node: where the agent and its clients run, inside one cgroup.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde_json::Value;

use super::HOSTNAME;
use super::network::Host;
use crate::binaries;
use crate::cgroup::Cgroup;
use crate::process::{Finished, Place, Proc};
use crate::slowness::stretched;

/// Longest run of a command in the node; what should take longer is spawned.
const RUN_DEADLINE: Duration = Duration::from_secs(120);
/// Longest run of curl.
const CURL_DEADLINE: Duration = Duration::from_secs(10);
/// A client ends with its current connection, whose own deadlines are 1 s and 5 s unless told otherwise.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// The node, or a pod on it.
pub struct Node {
    cgroup: Arc<Cgroup>,
    outside: Arc<Cgroup>,
    host: Arc<Host>,
    logs: PathBuf,
    ca: PathBuf,
    spawned: AtomicU32,
}

/// A client in the background.
pub struct ClientRun(Proc);

impl Node {
    pub(super) fn new(
        host: Arc<Host>,
        cgroup: Arc<Cgroup>,
        outside: Arc<Cgroup>,
        dir: &Path,
        ca: PathBuf,
    ) -> Self {
        Self { cgroup, outside, host, logs: dir.join("logs"), ca, spawned: AtomicU32::new(0) }
    }

    /// Its machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its cgroup, to which the agent attaches.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Starts a command in the node, without waiting for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<S: Into<OsString> + Clone>(&self, program: &Path, arguments: &[S]) -> anyhow::Result<Proc> {
        self.spawn_at(&self.place(), program, arguments)
    }

    /// Starts a command in the node's network namespace, but in a cgroup beside the node's: what the agent attaches does
    /// not reach it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_outside<S: Into<OsString> + Clone>(
        &self,
        program: &Path,
        arguments: &[S],
    ) -> anyhow::Result<Proc> {
        self.spawn_at(&self.outside(), program, arguments)
    }

    fn spawn_at<S: Into<OsString> + Clone>(
        &self,
        place: &Place,
        program: &Path,
        arguments: &[S],
    ) -> anyhow::Result<Proc> {
        let arguments: Vec<OsString> = arguments.iter().cloned().map(Into::into).collect();
        let base = program.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}-{base}-{}", self.host.role(), self.spawned.fetch_add(1, Relaxed));
        Proc::spawn(&name, &self.logs, &mut place.command(program, &arguments)?)
    }

    /// Runs a command in the node to its end, within two minutes.
    ///
    /// # Errors
    /// When it cannot be started or does not end; not when it exits with other than 0.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let (program, arguments) = words.split_first().context("run an empty command in the node")?;
        self.spawn(Path::new(program), arguments)?.wait_deadline(RUN_DEADLINE)
    }

    /// Runs curl with the lab's CA, quietly and within [`CURL_DEADLINE`] unless `arguments` say otherwise.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn curl(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let ca = self.ca.to_string_lossy();
        let most = stretched(CURL_DEADLINE).as_secs().to_string();
        self.run(&[&["curl", "-sS", "--max-time", &most, "--cacert", &ca], arguments].concat())
    }

    /// Runs `lab-client` over TLS, expecting the service's name, and returns its report.
    ///
    /// # Errors
    /// When the client could not do its work; connections that fail are in the report.
    pub fn client(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.spawn_client(arguments)?.wait(RUN_DEADLINE)
    }

    /// Starts `lab-client` as [`Self::client`] does, and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_client(&self, arguments: &[&str]) -> anyhow::Result<ClientRun> {
        let ca = self.ca.to_string_lossy();
        let tls = ["--tls", "--ca", &ca, "--server-name", HOSTNAME];
        self.spawn(&binaries::client()?, &[&tls, arguments].concat()).map(ClientRun)
    }

    /// For processes that belong to the node.
    fn place(&self) -> Place {
        Place { cgroup: Some(self.cgroup.procs()), ..self.host.place() }
    }

    fn outside(&self) -> Place {
        Place { cgroup: Some(self.outside.procs()), ..self.host.place() }
    }
}

impl ClientRun {
    /// What it has printed so far: for `hold`, and for `load --progress`.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.0.stdout()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Proc {
        &mut self.0
    }

    /// SIGTERM, then the report.
    ///
    /// # Errors
    /// When it does not end or prints no report.
    pub fn stop(self) -> anyhow::Result<Value> {
        self.0.signal(Signal::TERM)?;
        self.wait(STOP_DEADLINE)
    }

    /// Waits for its end and returns the report, the last line that it printed.
    ///
    /// # Errors
    /// When it does not end in time or prints no report.
    pub fn wait(mut self, deadline: Duration) -> anyhow::Result<Value> {
        let stdout = self.0.wait_deadline(deadline)?.success().context("run the lab's client")?;
        let report = stdout.lines().last().context("read the client's report: it printed nothing")?;
        serde_json::from_str(report).with_context(|| format!("read the client's report {report:?}"))
    }
}
