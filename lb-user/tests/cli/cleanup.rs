//! `lbctl cleanup` on directories of its own.

use std::{
    fs::{self, File},
    os::unix::net::UnixListener,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::{sandbox::Sandbox, served::Served};

const HOSTS: &str = "127.0.0.1 localhost\n";

/// What an agent that was killed leaves, apart from the kernel's part.
fn leftovers(sandbox: &Sandbox) -> String {
    let config = sandbox.good_config(|text| text);
    sandbox.file("hosts", HOSTS);
    assert_eq!(sandbox.lbctl(&["hosts", "apply", "-c", &config]).code, 0);
    fs::create_dir(sandbox.path("state")).unwrap();
    for name in ["state.json", "state.json.corrupt-1"] {
        sandbox.file(&format!("state/{name}"), "{}");
    }
    drop(UnixListener::bind(sandbox.path("lbctl.sock")).unwrap());
    config
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.dir.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !matches!(name.as_str(), "stdout" | "stderr" | "config.yaml"));
    names.sort();
    names
}

#[test]
fn everything_of_the_agents_goes_and_a_second_time_there_is_nothing() {
    let sandbox = Sandbox::new();
    let config = leftovers(&sandbox);
    let done = sandbox.lbctl(&["cleanup", "-c", &config]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    for what in ["the entry in", "/state.json\n", "/state.json.corrupt-1\n", "/state\n", "/lbctl.sock\n"] {
        assert!(done.stdout.contains(what), "{what}: {done:?}");
    }
    assert_eq!(names(&sandbox), ["hosts"]);
    assert_eq!(fs::read_to_string(sandbox.path("hosts")).unwrap(), HOSTS);
    let again = sandbox.lbctl(&["cleanup", "-c", &config]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "nothing to remove\n"));
    assert_eq!(sandbox.lbctl(&["cleanup", "-c", &config, "-o", "json"]).json(), json!({"removed": []}));
}

#[test]
fn what_is_not_the_agents_stays() {
    let sandbox = Sandbox::new();
    let config = leftovers(&sandbox);
    fs::remove_file(sandbox.path("lbctl.sock")).unwrap();
    sandbox.file("lbctl.sock", "no socket");
    sandbox.file("state/notes", "mine");
    sandbox.file("state/mystate.json", "mine");
    let done = sandbox.lbctl(&["cleanup", "-c", &config]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&sandbox), ["hosts", "lbctl.sock", "state"]);
    assert_eq!(fs::read_dir(sandbox.path("state")).unwrap().count(), 2);
}

#[test]
fn a_broken_config_needs_the_paths_as_flags() {
    let sandbox = Sandbox::new();
    let config = leftovers(&sandbox);
    sandbox.config("services: [\n");
    let paths = ["bpf/lbctl", "state", "hosts", "lbctl.sock"].map(|name| sandbox.path(name));
    let flags = ["--bpffs", "--state-dir", "--hosts-path", "--admin-socket"];
    let flags: Vec<&str> = flags.into_iter().zip(&paths).flat_map(|(flag, path)| [flag, path]).collect();
    let done = sandbox.lbctl(&[&["cleanup", "-c", &config], flags.as_slice()].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr.starts_with("lbctl: note: ") && done.stderr.contains("else the default ones"),
        "{done:?}"
    );
    assert_eq!(names(&sandbox), ["hosts"]);
    let relative = sandbox.lbctl(&["cleanup", "-c", &config, "--state-dir", "state"]);
    assert_eq!(relative.code, 2, "{relative:?}");
    assert!(relative.stderr.contains("--state-dir: \"state\" is not an absolute path"), "{relative:?}");
}

#[test]
fn a_running_agent_is_not_pulled_the_rug_from_under() {
    let sandbox = Sandbox::new();
    let config = leftovers(&sandbox);
    let before = names(&sandbox);
    let fake = Served::start();
    let done = sandbox.lbctl(&["cleanup", "-c", &config, "--admin-socket", &fake.socket]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(
        done.stderr.contains("failed to clean up: the agent is running, pid 4242; hint: stop it"),
        "{done:?}"
    );
    assert_eq!(names(&sandbox), before);
}

#[test]
fn an_agent_that_only_holds_its_lock_counts_as_running() {
    let sandbox = Sandbox::new();
    let config = leftovers(&sandbox);
    let pins = sandbox.path("bpf/lbctl");
    fs::create_dir_all(&pins).unwrap();
    let lock = File::open(&pins).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let done = sandbox.lbctl(&["cleanup", "-c", &config]);
    assert_eq!(done.code, 1, "{done:?}");
    let pid = format!("another lbctl agent (pid {}) is running on this node", std::process::id());
    assert!(done.stderr.contains(&pid), "{done:?}");
    drop(lock);
    fs::remove_dir(&pins).unwrap();
    assert_eq!(sandbox.lbctl(&["cleanup", "-c", &config]).code, 0);
}
