//! Links: what ties a program to a hook.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::{Command, bpf, object_info};

/// enum bpf_link_type, include/uapi/linux/bpf.h.
const CGROUP: u32 = 3;
const XDP: u32 = 6;
const TCX: u32 = 11;

/// Gives a link another program, without a gap.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let mut attributes = Attributes {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: program.as_raw_fd() as u32,
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(Command::LinkUpdate, &mut attributes).map(drop)
}

/// Takes a link's program off its hook, whoever else holds the link.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link_fd: u32,
    }
    bpf(Command::LinkDetach, &mut Attributes { link_fd: link.as_raw_fd() as u32 }).map(drop)
}

/// What the kernel says of a link, struct bpf_link_info.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    /// By kind. Of a cgroup link the cgroup's id, 64 bits, and the attach type; of a TCX link interface and attach type; of an
    /// XDP link the interface.
    place: [u32; 4],
}

/// A link to a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    /// Its id.
    pub(crate) id: u32,
    /// The id of the program that it ties.
    pub(crate) program: u32,
    /// The interface; 0: it is gone, and the link hangs nowhere.
    pub(crate) interface: u32,
}

/// What a TCX or XDP link ties to what; `None`: it is another kind of link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<Option<LinkInfo>> {
    let mut info = Info::default();
    object_info(link, &mut info)?;
    let Info { kind, id, prog_id, place: [interface, ..], .. } = info;
    Ok(matches!(kind, TCX | XDP).then_some(LinkInfo { id, program: prog_id, interface }))
}

/// The id of the cgroup on which a link hangs, which is the inode number of the cgroup's directory; `None` when the
/// cgroup is gone, or it is not a cgroup link.
pub(crate) fn link_cgroup(link: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut info = Info::default();
    object_info(link, &mut info)?;
    let [a, b, ..] = info.place.map(u32::to_ne_bytes);
    let cgroup = u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]);
    Ok((info.kind == CGROUP && cgroup != 0).then_some(cgroup))
}
