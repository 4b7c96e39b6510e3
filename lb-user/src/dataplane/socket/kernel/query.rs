//! Who hangs on the hooks of a cgroup.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::fd::AsFd as _,
    path::Path,
};

use aya::programs::{ProgramInfo, loaded_programs};
use lb_core::doctor::{AttachedProgram, HookFacts};

use crate::{
    dataplane::{DataplaneError, socket::hook::Hook},
    os::bpf::{self, Extent, Query},
};

/// BPF_F_ALLOW_MULTI, include/uapi/linux/bpf.h. Every link has it.
const ALLOW_MULTI: u32 = 1 << 1;

/// enum bpf_attach_type, include/uapi/linux/bpf.h.
fn attach_type(hook: Hook) -> u32 {
    match hook {
        Hook::SockOps => 3,
        Hook::Connect4 => 10,
        Hook::Connect6 => 11,
        Hook::GetPeerName4 => 29,
        Hook::GetPeerName6 => 30,
    }
}

/// What hangs on our hooks of a cgroup and is not pinned below `bpffs`.
///
/// # Errors
/// When the kernel does not say: CAP_NET_ADMIN is needed.
pub fn attached(bpffs: &Path, cgroup: &Path) -> Result<HookFacts, DataplaneError> {
    let object = || format!("cgroup {}", cgroup.display());
    let directory = File::open(cgroup).map_err(DataplaneError::failed("open", object()))?;
    let own = own_programs(bpffs);
    let mut facts = HookFacts::default();
    let mut foreign: Vec<(Hook, u32)> = Vec::new();
    for hook in Hook::ALL {
        let ask = |extent| {
            bpf::prog_query(directory.as_fd(), attach_type(hook), extent).map_err(DataplaneError::denied(
                "ask for the programs on",
                object(),
                "CAP_NET_ADMIN",
            ))
        };
        let Query { ids, flags } = ask(Extent::Own)?;
        if !ids.is_empty() && flags & ALLOW_MULTI == 0 {
            facts.exclusive.push(hook.to_string());
        }
        let ids = ask(Extent::Effective)?.ids;
        foreign.extend(ids.into_iter().filter(|id| !own.contains(id)).map(|id| (hook, id)));
    }
    let names = if foreign.is_empty() { BTreeMap::new() } else { names() };
    facts.foreign.extend(foreign.into_iter().map(|(hook, id)| AttachedProgram {
        hook: hook.to_string(),
        id,
        name: names.get(&id).cloned().unwrap_or_else(|| "a program without a name".to_owned()),
    }));
    Ok(facts)
}

/// What is pinned below the directory, whichever version of lbctl did it.
fn own_programs(bpffs: &Path) -> BTreeSet<u32> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let layouts = entries(bpffs).map(|layout| layout.path().join("programs"));
    let pins = layouts.flat_map(|programs| entries(&programs).map(|pin| pin.path()).collect::<Vec<_>>());
    pins.filter_map(|pin| ProgramInfo::from_pin(pin).ok()).map(|program| program.id()).collect()
}

/// The names of all programs, as far as they have one and this process may know it (CAP_SYS_ADMIN).
fn names() -> BTreeMap<u32, String> {
    let programs = loaded_programs().filter_map(Result::ok);
    let named = |program: ProgramInfo| {
        let name = program.name_as_str().filter(|name| !name.is_empty())?.to_owned();
        Some((program.id(), name))
    };
    programs.filter_map(named).collect()
}
