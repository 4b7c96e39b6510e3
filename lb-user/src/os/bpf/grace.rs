//! Maps that are made here.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::{Command, bpf, owned};

/// enum bpf_map_type, include/uapi/linux/bpf.h.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

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

/// An array of one number of four bytes, which a program can count in.
pub(super) fn counter() -> io::Result<OwnedFd> {
    map_create(BPF_MAP_TYPE_ARRAY, 0)
}
