//! lbctl in the node: the agent as a process, and its commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::Lab;
use crate::process::{Finished, Proc};
use crate::wait::eventually;
use crate::{binaries, unix_http};

/// Loading the programs takes some 100 ms natively, seconds in an emulated VM.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// `run --once --wait 60s` is the longest command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);

/// A running agent; dropping it kills it, which leaves its dataplane in place. A panicking test gets its log.
pub struct Agent {
    process: Proc,
    socket: PathBuf,
}

impl Lab {
    /// Starts `lbctl run` in the node and waits until its admin socket answers. Writes the default configuration if there is none.
    ///
    /// # Errors
    /// When it ends or stays silent: quotes its log.
    pub fn start_agent(&self) -> anyhow::Result<Agent> {
        let mut agent = self.spawn_agent(&[])?;
        agent.await_answer()?;
        Ok(agent)
    }

    /// Starts `lbctl run` with more `arguments` and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_agent(&self, arguments: &[&str]) -> anyhow::Result<Agent> {
        let words = self.lbctl_words(&[&["run"], arguments].concat())?;
        let process = self.node().spawn(&binaries::lbctl()?, &words)?;
        Ok(Agent { process, socket: self.admin_socket() })
    }

    /// As [`Self::start_agent`], one that finds no network namespace but its own: to it clients in others are what virtual
    /// machines and machines from elsewhere are in truth, out of its reach.
    ///
    /// # Errors
    /// As [`Self::start_agent`].
    pub fn start_confined_agent(&self) -> anyhow::Result<Agent> {
        // Those of processes that may do more than it are closed to it, and all in a lab may.
        let script = r#"mount -t tmpfs none /run/netns && exec setpriv --bounding-set=-sys_ptrace -- "$@""#;
        let mut words: Vec<OsString> = ["--mount", "sh", "-c", script, "sh"].map(OsString::from).to_vec();
        words.push(binaries::lbctl()?.into());
        words.extend(self.lbctl_words(&["run"])?);
        // Each becomes what it starts, so the pid stays.
        let process = self.node().spawn(Path::new("unshare"), &words)?;
        let mut agent = Agent { process, socket: self.admin_socket() };
        agent.await_answer()?;
        Ok(agent)
    }

    /// Runs an lbctl command in the node with the lab's configuration: `lab.lbctl(&["backends", "-o", "json"])`.
    ///
    /// # Errors
    /// When it cannot be started or does not end; not when it exits with other than 0.
    pub fn lbctl(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let words = self.lbctl_words(arguments)?;
        self.node().spawn(&binaries::lbctl()?, &words)?.wait_deadline(COMMAND_DEADLINE)
    }

    /// Starts an lbctl command in the node that reads no configuration, such as `care`, and does not wait. The lab's places
    /// are in its environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_without_config(&self, arguments: &[&str]) -> anyhow::Result<Agent> {
        let mut words = self.environment();
        words.push(binaries::lbctl()?.into());
        words.extend(arguments.iter().map(OsString::from));
        // env(1) becomes what it starts, so the pid stays.
        let process = self.node().spawn(Path::new("env"), &words)?;
        Ok(Agent { process, socket: self.admin_socket() })
    }

    /// Where things are, as lbctl's flags have it in the environment: `NAME=value`.
    fn environment(&self) -> Vec<OsString> {
        let places = [
            ("LBCTL_CGROUP", self.node().cgroup().path().to_owned()),
            ("LBCTL_BPFFS", self.pins()),
            ("LBCTL_STATE_DIR", self.dir().join("state")),
            ("LBCTL_HOSTS_PATH", self.hosts_file()),
            ("LBCTL_ADMIN_SOCKET", self.admin_socket()),
        ];
        let names = self.dataplane().names();
        let dataplane = (!names.is_empty()).then(|| ("LBCTL_DATAPLANE", names.join(",").into()));
        let word = |(name, value): (&str, PathBuf)| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            word
        };
        places.into_iter().chain(dataplane).map(word).collect()
    }

    fn lbctl_words(&self, arguments: &[&str]) -> anyhow::Result<Vec<OsString>> {
        let config = self.config_file();
        if !config.exists() {
            self.agent_config(|_| ())?;
        }
        let mut words = vec!["--config".into(), config.into()];
        words.extend(arguments.iter().map(OsString::from));
        Ok(words)
    }
}

impl Agent {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it is gone already or does not end within `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> anyhow::Result<Finished> {
        self.process.signal(Signal::TERM)?;
        self.wait(deadline)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<Finished> {
        self.process.wait_deadline(deadline).context("wait for the agent")
    }

    /// A request to the admin API; `body` is JSON or empty.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<unix_http::Response> {
        unix_http::request(&self.socket, method, path, body)
    }

    /// Waits until its admin socket answers.
    ///
    /// # Errors
    /// When it ends or stays silent: quotes its log.
    pub fn await_answer(&mut self) -> anyhow::Result<()> {
        let answered = eventually(START_DEADLINE, "the agent's admin socket answers", || self.answers())?;
        ensure!(answered, "start the agent: it has ended; its log:\n{}", self.log());
        Ok(())
    }

    /// For polling: whether `/healthz` on the admin socket answers 200 (`false`: it never will), or why not yet.
    fn answers(&mut self) -> Result<bool, String> {
        if !self.process.is_running().map_err(|error| error.to_string())? {
            return Ok(false);
        }
        match self.request("GET", "/healthz", "") {
            Ok(response) if response.status == 200 => Ok(true),
            Ok(response) => Err(format!("status {}; its log:\n{}", response.status, self.log())),
            Err(error) => Err(format!("{error:#}; its log:\n{}", self.log())),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the agent ({}) ---\n{}", self.pid(), self.log());
        }
    }
}
