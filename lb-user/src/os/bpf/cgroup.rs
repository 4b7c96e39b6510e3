//! Who hangs on the hooks of a cgroup.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::{Command, bpf};

/// Programs on one hook of a cgroup.
pub(crate) struct Query {
    /// Their ids, in the order in which they run; the first [`MOST_PROGRAMS`].
    pub(crate) ids: Vec<u32>,
    /// BPF_F_ALLOW_*, as the first of them was attached. Only for [`Extent::Own`].
    pub(crate) flags: u32,
}

/// Which programs are asked for.
#[derive(Clone, Copy)]
pub(crate) enum Extent {
    /// Those attached to this cgroup.
    Own = 0,
    /// Those that run for its processes: BPF_F_QUERY_EFFECTIVE, include/uapi/linux/bpf.h.
    Effective = 1,
}

/// One cgroup takes 64 (BPF_CGROUP_MAX_PROGS, kernel/bpf/cgroup.c), and its parents as many.
const MOST_PROGRAMS: usize = 256;

/// Asks which programs hang on a hook of a cgroup (Linux 4.15, CAP_NET_ADMIN).
pub(crate) fn prog_query(cgroup: BorrowedFd<'_>, attach_type: u32, extent: Extent) -> io::Result<Query> {
    #[repr(C)]
    struct Attributes {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let mut ids = vec![0_u32; MOST_PROGRAMS];
    let mut attributes = Attributes {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type,
        query_flags: extent as u32,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        padding: 0,
    };
    match bpf(Command::ProgQuery, &mut attributes) {
        // There are more than fit; those that do are there.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => return Err(error),
        Ok(_) | Err(_) => {}
    }
    ids.truncate(attributes.prog_cnt as usize);
    Ok(Query { ids, flags: attributes.attach_flags })
}
