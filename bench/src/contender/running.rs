//! A contender at work.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lb_tests::lab::{Agent, Lab, Node};
use lb_tests::process::{Place, Proc, run_to_end};
use rustix::process::{Pid, Signal, kill_process};

/// Longest run of a command that makes or removes rules.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// Time for a proxy to end by itself.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// A contender that forwards. Dropping it ends its processes and removes its rules.
pub struct Running {
    targets: Vec<SocketAddr>,
    in_node_cgroup: bool,
    place: Place,
    logs: PathBuf,
    proxy: Option<Proc>,
    agent: Option<Agent>,
    /// Commands that undo what was done, the last one first.
    undo: Vec<Vec<String>>,
}

impl Running {
    pub(super) fn new(lab: &Lab, targets: Vec<SocketAddr>) -> Self {
        Self {
            targets,
            in_node_cgroup: false,
            place: lab.node().host().place(),
            logs: lab.dir().join("logs"),
            proxy: None,
            agent: None,
            undo: Vec::new(),
        }
    }

    /// Where clients connect to: one address, or all masters' for a client that picks one itself.
    #[must_use]
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// Whether clients belong into the node's cgroup; otherwise beside it.
    #[must_use]
    pub fn in_node_cgroup(&self) -> bool {
        self.in_node_cgroup
    }

    /// The processes that balance or watch the masters, without those that ended meanwhile.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let proxy = self.proxy.as_ref().map(Proc::pid);
        let agent = self.agent.as_ref().map(Agent::pid);
        proxy.into_iter().chain(agent).flat_map(|pid| [vec![pid], children(pid)].concat()).collect()
    }

    /// Starts a client where this contender's clients belong.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_client<S: Into<OsString> + Clone>(
        &self,
        node: &Node,
        program: &Path,
        arguments: &[S],
    ) -> anyhow::Result<Proc> {
        if self.in_node_cgroup {
            node.spawn(program, arguments)
        } else {
            node.spawn_outside(program, arguments)
        }
    }

    /// Starts a proxy in the node's network namespace, outside its cgroup.
    pub(super) fn start_proxy(&mut self, program: &str, arguments: &[&str]) -> anyhow::Result<&mut Proc> {
        let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let proxy = Proc::spawn(program, &self.logs, &mut self.place.command(Path::new(program), &words)?)?;
        Ok(self.proxy.insert(proxy))
    }

    /// Clients belong into the node's cgroup, where this agent attaches.
    pub(super) fn serve_node_cgroup(&mut self) {
        self.in_node_cgroup = true;
    }

    pub(super) fn set_agent(&mut self, agent: Agent) -> &Agent {
        self.agent.insert(agent)
    }

    /// Runs a command in the node's network namespace; `undo` is run when this is dropped.
    pub(super) fn apply(&mut self, words: &[&str], undo: Option<&[&str]>) -> anyhow::Result<()> {
        self.run(words)?;
        self.undo_with(undo.unwrap_or_default());
        Ok(())
    }

    pub(super) fn undo_with(&mut self, words: &[&str]) {
        if !words.is_empty() {
            self.undo.push(words.iter().map(|word| (*word).to_owned()).collect());
        }
    }

    fn run(&self, words: &[impl AsRef<str>]) -> anyhow::Result<()> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let (program, arguments) = words.split_first().context("run an empty command")?;
        let program = Path::new(program);
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let name = format!("rules-{}", program.file_name().unwrap_or_default().display());
        let mut command = self.place.command(program, &arguments)?;
        run_to_end(&name, &self.logs, &mut command, COMMAND_DEADLINE)?
            .success()
            .with_context(|| format!("run {}", words.join(" ")))?;
        Ok(())
    }

    /// A proxy's workers outlive a parent that is killed: first it is asked, then they are.
    fn end_proxy(&mut self) -> anyhow::Result<()> {
        let workers = self.pids();
        let Some(mut proxy) = self.proxy.take() else { return Ok(()) };
        proxy.signal(Signal::TERM)?;
        let ended = proxy.wait_deadline(END_DEADLINE);
        if ended.is_err() {
            for worker in workers.into_iter().filter_map(pid) {
                // One that is gone by now is what we want.
                let _ = kill_process(worker, Signal::KILL);
            }
        }
        ended.map(drop)
    }

    fn end_agent(&mut self) -> anyhow::Result<()> {
        match self.agent.take() {
            Some(mut agent) => agent.terminate(COMMAND_DEADLINE).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut outcomes = vec![self.end_proxy(), self.end_agent()];
        while let Some(words) = self.undo.pop() {
            outcomes.push(self.run(&words));
        }
        for error in outcomes.into_iter().filter_map(Result::err) {
            eprintln!("failed to end a contender: {error:#}");
        }
    }
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(number.try_into().ok()?)
}

/// The processes that `pid`'s main thread has started, as nginx starts its workers.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
