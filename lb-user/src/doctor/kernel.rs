//! What the kernel has, and what this process may do with it.

use std::{io, path::PathBuf};

use lb_core::doctor::{Code, Facts, Lack, Memlock, Programs};
use rustix::process::{Resource, getrlimit};

use super::{Places, gap, known, processes::Process};
use crate::{
    dataplane::{DataplaneError, socket},
    os::{bpffs, capability, cgroup, sockdiag::SockDiag},
};

/// What the socket dataplane's hooks need (getpeername: Linux 5.8).
const REMEDY: &str =
    "use Linux 5.8 or later with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and BPF's JIT, or dataplane: ipvs";

pub(super) fn look(places: &Places, facts: &mut Facts) {
    facts.kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let missing = capability::missing();
    facts.missing_capabilities =
        known(facts, Code::Capabilities, "read this process's capabilities", missing);
    let lies = bpffs::lies_on_bpffs(&places.bpffs);
    facts.bpffs = known(facts, Code::Bpffs, "read the mounts", lies).map(|lies| (places.bpffs.clone(), lies));
    facts.memlock = Some(memlock());
    let can_destroy = SockDiag::open().and_then(|diag| diag.can_destroy());
    facts.sock_destroy = known(facts, Code::SockDestroy, "ask NETLINK_SOCK_DIAG", can_destroy);
    facts.programs = programs(facts);
    look_at_cgroup(places, facts);
}

fn memlock() -> Memlock {
    getrlimit(Resource::Memlock).current.map_or(Memlock::Unlimited, Memlock::Bytes)
}

fn programs(facts: &mut Facts) -> Option<Result<Programs, Lack>> {
    match socket::try_programs() {
        Ok(set_retval) => Some(Ok(Programs { set_retval })),
        // Who may load programs and cannot has another kernel than they need.
        Err(error @ DataplaneError::Failed { .. }) if is_allowed(facts) => {
            Some(Err(Lack { what: first_lines(&error), remedy: REMEDY.to_owned() }))
        }
        Err(error) => lack(facts, Code::SocketKernel, "try the kernel programs", error),
    }
}

fn is_allowed(facts: &Facts) -> bool {
    facts.missing_capabilities.as_ref().is_some_and(Vec::is_empty)
}

/// An error with its causes, the first line of each: the verifier's log follows in the next ones.
pub(super) fn first_lines(error: &DataplaneError) -> String {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |&error| error.source());
    let lines = causes.map(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned());
    lines.collect::<Vec<_>>().join(": ")
}

fn look_at_cgroup(places: &Places, facts: &mut Facts) {
    let named: Option<PathBuf> = facts.config().and_then(|config| config.cgroup.clone());
    let found = match cgroup::find(named.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            facts.cgroup = lack(facts, Code::CgroupRoot, "find the cgroup root", error);
            return;
        }
    };
    facts.lives_in_cgroup = cgroup::contains_us(&found);
    match socket::attached(&places.bpffs, &found) {
        Ok(hooks) => facts.hooks = Some(hooks),
        Err(error) => gap(facts, Code::HookForeign, "ask which programs hang on the cgroup", error),
    }
    facts.cgroup = Some(Ok(found));
}

/// What is missing, or a gap where that cannot be told.
fn lack<T>(facts: &mut Facts, code: Code, operation: &str, error: DataplaneError) -> Option<Result<T, Lack>> {
    match error {
        DataplaneError::Missing { what, remedy } => Some(Err(Lack { what, remedy })),
        error @ (DataplaneError::Permission { .. }
        | DataplaneError::Unsupported(_)
        | DataplaneError::Locked(_)
        | DataplaneError::Failed { .. }
        | DataplaneError::Full { .. }) => {
            gap(facts, code, operation, error);
            None
        }
    }
}

pub(super) fn look_at_firewalld(processes: &io::Result<Vec<Process>>, facts: &mut Facts) {
    match processes {
        Ok(processes) => facts.firewalld = Some(processes.iter().any(|process| process.name == "firewalld")),
        Err(error) => gap(facts, Code::Firewalld, "list the processes", anyhow::anyhow!("{error}")),
    }
}
