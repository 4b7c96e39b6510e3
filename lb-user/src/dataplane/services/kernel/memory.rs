//! An array map, mapped into this process: what is written here the programs read, without a system call.
#![expect(unsafe_code, reason = "shared memory")]

use std::{
    io,
    marker::PhantomData,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering, fence},
};

use lb_common::{
    packet::{Rules, Way},
    socket::{Backend, Service, Set, Settings},
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Plain data of `lb_common::socket`: any bit pattern is a value.
///
/// # Safety
/// The type is `repr(C)`, has no padding, holds integers only, and its size is a multiple of 8, which is the step of
/// an array map's elements.
pub unsafe trait Plain: Copy {}

// SAFETY: see lb_common's test `no_layout_has_padding`.
unsafe impl Plain for Backend {}
// SAFETY: as above.
unsafe impl Plain for Service {}
// SAFETY: as above.
unsafe impl Plain for Set {}
// SAFETY: as above.
unsafe impl Plain for Settings {}
// SAFETY: as above.
unsafe impl Plain for Way {}
// SAFETY: as above.
unsafe impl Plain for Rules {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// An array map of `T` in memory.
pub struct Shared<T> {
    start: NonNull<T>,
    count: u32,
    bytes: usize,
    element: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached through `&self` and `&mut self`.
unsafe impl<T: Plain + Send> Send for Shared<T> {}

impl<T: Plain> Shared<T> {
    /// Maps an array of `count` elements that was made with `BPF_F_MMAPABLE` (Linux 5.5).
    pub fn map(fd: impl AsFd, count: u32) -> io::Result<Self> {
        let bytes = size_of::<T>() * count as usize;
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses more than the map holds.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, count, bytes, element: PhantomData })
    }

    /// The place of an element. Indices come from this crate; one that is too large ends at the last element rather
    /// than outside.
    fn place(&self, index: u32) -> *mut T {
        debug_assert!(index < self.count);
        let index = index.min(self.count - 1) as usize;
        // SAFETY: inside the mapping.
        unsafe { self.start.as_ptr().add(index) }
    }

    /// An element as it is now.
    pub fn read(&self, index: u32) -> T {
        // SAFETY: inside the mapping, aligned to its page and step; programs may write words of it meanwhile, which
        // a volatile read takes as they are.
        unsafe { self.place(index).read_volatile() }
    }

    /// Writes an element. Programs may see a part of it before the rest.
    pub fn write(&mut self, index: u32, value: &T) {
        // SAFETY: as for `read`; nobody else writes what the caller writes.
        unsafe { self.place(index).write_volatile(*value) }
    }

    /// One word of an element, for reads and writes that are seen whole.
    fn word(&self, index: u32, field: impl FnOnce(*mut T) -> *mut u64) -> &AtomicU64 {
        // SAFETY: a field inside the mapping, aligned, and only touched by whole-word accesses.
        unsafe { AtomicU64::from_ptr(field(self.place(index))) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, that nobody else points into.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) } {
            tracing::debug!(%error, "failed to unmap a map");
        }
    }
}

impl Shared<Service> {
    /// Puts a set in force: one store, after everything written before.
    pub fn flip(&mut self, slot: u32, active: u64) {
        // SAFETY: `place` is inside the mapping.
        self.word(slot, |s| unsafe { &raw mut (*s).active }).store(active, Ordering::SeqCst);
    }

    /// Writes everything but `active` and `turn`, which have owners of their own.
    pub fn write_identity(&mut self, slot: u32, service: &Service) {
        let place = self.place(slot);
        // SAFETY: `place` is inside the mapping, its fields are aligned, and nobody else writes them.
        unsafe {
            (&raw mut (*place).vip).write_volatile(service.vip);
            (&raw mut (*place).name).write_volatile(service.name);
        }
        fence(Ordering::SeqCst);
    }
}

impl Shared<Backend> {
    /// Marks a record as used or free, and leaves the counters to the programs.
    pub fn mark(&mut self, index: u32, used: bool) {
        let place = self.place(index);
        // SAFETY: `place` is inside the mapping, the field is aligned, and the programs do not touch it.
        unsafe { (&raw mut (*place).used).write_volatile(u32::from(used)) };
    }
}

impl Shared<Backend> {
    /// Puts right how many connections are open; a program may count one more or less at the same moment.
    pub fn set_active(&mut self, index: u32, active: u64) {
        // SAFETY: `place` is inside the mapping.
        self.word(index, |b| unsafe { &raw mut (*b).active }).store(active, Ordering::SeqCst);
    }
}

impl Shared<u64> {
    /// Adds to a number that programs add to as well.
    pub fn add(&mut self, index: u32, n: u64) {
        self.word(index, |word| word).fetch_add(n, Ordering::SeqCst);
    }
}

impl Shared<Settings> {
    /// Tells the programs which network namespace is theirs.
    pub fn set_netns_cookie(&mut self, cookie: u64) {
        // SAFETY: `place` is inside the mapping.
        self.word(0, |s| unsafe { &raw mut (*s).netns_cookie }).store(cookie, Ordering::SeqCst);
    }
}
