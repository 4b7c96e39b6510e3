//! The commands of bpf(2) that aya 0.14 does not offer: updating and detaching a pinned cgroup link, asking a link
//! where it hangs, and a map of maps, whose update waits for an RCU grace period.
#![expect(unsafe_code, reason = "bpf(2) takes a pointer to an attribute block")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// enum bpf_cmd, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapUpdateElem = 2,
    ObjGet = 7,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// enum bpf_map_type, include/uapi/linux/bpf.h.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// enum bpf_link_type, include/uapi/linux/bpf.h.
const BPF_LINK_TYPE_CGROUP: u32 = 3;

/// One bpf(2) call. `A` is the part of union bpf_attr that the command reads; the kernel takes the rest as zero.
fn bpf<A>(command: Command, attributes: &mut A) -> io::Result<i64> {
    // SAFETY: `attributes` is a repr(C) block without padding, alive for the call, whose size is passed along; the
    // pointers in it are valid for the call, as each caller below shows.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attributes), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel just gave this descriptor to us alone; descriptors fit an i32.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Opens a pinned object.
pub(crate) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Attributes { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    bpf(Command::ObjGet, &mut attributes).map(owned)
}

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

/// The id of the cgroup on which a link hangs, which is the inode number of the cgroup's directory; `None` when the
/// cgroup is gone, or it is not a cgroup link.
pub(crate) fn link_cgroup(link: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    #[repr(C)]
    #[derive(Default)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        cgroup_id: u64,
        attach_type: u32,
        padding_end: u32,
    }
    #[repr(C)]
    struct Attributes {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = LinkInfo::default();
    let mut attributes = Attributes {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(Command::ObjGetInfoByFd, &mut attributes)?;
    Ok((info.kind == BPF_LINK_TYPE_CGROUP && info.cgroup_id != 0).then_some(info.cgroup_id))
}

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

/// A map of maps that no program reads. An update of one makes the kernel wait until every program that was running
/// has ended (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c).
pub(crate) struct GracePeriod {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl GracePeriod {
    pub(crate) fn new() -> io::Result<Self> {
        let inner = map_create(BPF_MAP_TYPE_ARRAY, 0)?;
        let outer = map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd() as u32)?;
        Ok(Self { outer, inner })
    }

    pub(crate) fn wait(&self) -> io::Result<()> {
        #[repr(C)]
        struct Attributes {
            map_fd: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let key = 0_u32;
        let value = self.inner.as_raw_fd() as u32;
        let mut attributes = Attributes {
            map_fd: self.outer.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
        bpf(Command::MapUpdateElem, &mut attributes).map(drop)
    }
}

/// A map with one element and four bytes for key and value each.
fn map_create(kind: u32, inner_map_fd: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
    }
    let mut attributes =
        Attributes { map_type: kind, key_size: 4, value_size: 4, max_entries: 1, map_flags: 0, inner_map_fd };
    bpf(Command::MapCreate, &mut attributes).map(owned)
}
