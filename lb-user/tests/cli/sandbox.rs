//! The binary in a directory of its own.

use std::{
    fs::{self, File, Permissions},
    io::pipe,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    time::Duration,
};

use lb_user::os::process::wait_deadline;
use tempfile::TempDir;

/// Far more than any of these commands takes on a loaded machine; a client gives up on the agent after 5 s.
const DEADLINE: Duration = Duration::from_secs(30);

const LBCTL: &str = env!("CARGO_BIN_EXE_lbctl");

/// The user and group that own nothing (kernel.overflowuid).
const NOBODY: u32 = 65534;

/// A valid config, with every path in the sandbox.
const CONFIG: &str = "bpffs: DIR/bpf/lbctl
stateDir: DIR/state
hosts: {path: DIR/hosts}
admin: {socket: DIR/lbctl.sock}
services:
- name: apiserver
  vip: 10.103.97.2:6443
  hostname: apiserver.cluster.local
  backends: [192.168.0.2:6443, 192.168.0.3:6443]
";

pub struct Sandbox {
    pub dir: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn config(&self, content: &str) -> String {
        self.file("config.yaml", content)
    }

    /// Writes a valid config, after a change.
    pub fn good_config(&self, change: impl FnOnce(String) -> String) -> String {
        self.config(&change(CONFIG.replace("DIR", self.dir.path().to_str().unwrap())))
    }

    pub fn lbctl(&self, arguments: &[&str]) -> Finished {
        self.lbctl_with(arguments, &[])
    }

    /// With variables in an environment that has no other of lbctl's.
    pub fn lbctl_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let stdout = self.path("stdout");
        let file = File::create(&stdout).unwrap();
        let mut finished = self.run(Command::new(LBCTL), arguments, environment, file.into());
        finished.stdout = fs::read_to_string(&stdout).unwrap();
        finished
    }

    /// With a stdout that nobody reads.
    pub fn piped_to_nobody(&self, arguments: &[&str]) -> Finished {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        self.run(Command::new(LBCTL), arguments, &[], writer.into())
    }

    /// As a user who may do nothing: this one, or nobody where this one is root.
    pub fn unprivileged(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(LBCTL);
        if rustix::process::geteuid().is_root() {
            // Nobody may not be able to reach the directory that this was built in.
            let copy = self.path("lbctl");
            fs::copy(LBCTL, &copy).unwrap();
            fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
            command = Command::new(copy);
            command.uid(NOBODY).gid(NOBODY);
        }
        self.run(command, arguments, &[], Stdio::null())
    }

    fn run(
        &self,
        mut command: Command,
        arguments: &[&str],
        environment: &[(&str, &str)],
        stdout: Stdio,
    ) -> Finished {
        let stderr = self.path("stderr");
        for (name, _) in std::env::vars_os() {
            if ["LBCTL_", "CARE_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
        let mut child = command.stdout(stdout).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let status = wait_deadline(&mut child, DEADLINE).unwrap();
        let stderr = fs::read_to_string(&stderr).unwrap();
        Finished { code: status.code().unwrap(), stdout: String::new(), stderr }
    }
}
