//! TCX (Linux 6.6): programs on network interfaces by links, one after the other, before the filters of tc(8).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

use super::{Command, bpf, owned};

/// enum bpf_attach_type, include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Ingress = 46,
    Egress = 47,
}

/// BPF_F_BEFORE, include/uapi/linux/bpf.h: without anything named that means before all.
const BEFORE: u32 = 1 << 3;

/// More than one hook takes (BPF_MPROG_MAX, include/linux/bpf_mprog.h).
const MOST_PROGRAMS: usize = 64;

/// One of the programs on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) program: u32,
    /// The id of the link that ties it; 0: none does.
    pub(crate) link: u32,
}

/// Puts a program first on a hook of an interface.
pub(crate) fn link_create(program: BorrowedFd<'_>, interface: u32, hook: Hook) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative_fd: u32,
        padding: u32,
        expected_revision: u64,
    }
    let mut attributes = Attributes {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: interface,
        attach_type: hook as u32,
        flags: BEFORE,
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    bpf(Command::LinkCreate, &mut attributes).map(owned)
}

/// The programs on a hook of an interface, in the order in which they run.
pub(crate) fn query(interface: u32, hook: Hook) -> io::Result<Vec<Attached>> {
    #[repr(C)]
    struct Attributes {
        target_ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        padding: u32,
        prog_attach_flags: u64,
        link_ids: u64,
        link_attach_flags: u64,
        revision: u64,
    }
    let (mut programs, mut links) = ([0_u32; MOST_PROGRAMS], [0_u32; MOST_PROGRAMS]);
    let mut attributes = Attributes {
        target_ifindex: interface,
        attach_type: hook as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST_PROGRAMS as u32,
        padding: 0,
        prog_attach_flags: 0,
        link_ids: links.as_mut_ptr() as u64,
        link_attach_flags: 0,
        revision: 0,
    };
    match bpf(Command::ProgQuery, &mut attributes) {
        Ok(_) => {}
        // Linux 6.6 says so of a hook that never had a program.
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let pairs = programs.into_iter().zip(links).take(attributes.count as usize);
    Ok(pairs.map(|(program, link)| Attached { program, link }).collect())
}
