//! The commands of bpf(2) that aya 0.14 does not offer, or not so: links that are asked where they hang, updated in
//! place, detached or put first; who hangs on a hook; a program of a few instructions; a map of maps, whose update waits for an
//! RCU grace period; many entries of a map by one call.

mod batch;
mod cgroup;
mod grace;
mod link;
mod program;
pub(crate) mod tcx;
pub mod xdp;

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

pub(crate) use batch::each_entry;
pub(crate) use cgroup::{Extent, Query, prog_query};
pub(crate) use grace::GracePeriod;
pub(crate) use link::{link_cgroup, link_detach, link_info, link_update};
pub use program::{Kind, counting, instruction, program};
pub(crate) use program::{program_by_id, program_info};

/// enum bpf_cmd, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapUpdateElem = 2,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgGetFdById = 13,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    MapLookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// One bpf(2) call. `A` is the part of union bpf_attr that the command reads; the kernel takes the rest as zero.
#[expect(unsafe_code, reason = "bpf(2) takes a pointer to an attribute block")]
fn bpf<A>(command: Command, attributes: &mut A) -> io::Result<i64> {
    // SAFETY: `attributes` is a repr(C) block without padding, alive for the call, whose size is passed along; the
    // pointers in it are valid for the call, as each caller in this folder shows.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attributes), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(unsafe_code, reason = "bpf(2) gives descriptors as numbers")]
fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel just gave this descriptor to us alone; descriptors fit an i32.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// What BPF_OBJ_PIN and BPF_OBJ_GET read.
#[repr(C)]
struct ObjectAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Opens a pinned object.
pub(crate) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = ObjectAttributes { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    bpf(Command::ObjGet, &mut attributes).map(owned)
}

/// Pins an object at a path that is free.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let bpf_fd = object.as_raw_fd() as u32;
    let mut attributes = ObjectAttributes { pathname: path.as_ptr() as u64, bpf_fd, file_flags: 0 };
    bpf(Command::ObjPin, &mut attributes).map(drop)
}

/// Reads what the kernel says of an object: as much of it as `T` has room for.
fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut attributes = Attributes {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(Command::ObjGetInfoByFd, &mut attributes).map(drop)
}
