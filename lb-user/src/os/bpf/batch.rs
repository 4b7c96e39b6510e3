//! Many entries of a map by one call (Linux 5.6). Reading one after the other begins anew where the last one is gone
//! meanwhile, which in a table under load need never end; a batch goes on with the next bucket.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;
use rustix::io::Errno;

use super::{Command, bpf};

/// So many at once. One bucket must fit: there are as many buckets as entries, so that it has a handful.
const ENTRIES: usize = 1024;

/// Reads a hash map, one bucket after the other. An entry that comes or goes meanwhile may be missing, or be told twice.
pub(crate) fn each_entry<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    let (mut keys, mut values) = (vec![K::default(); ENTRIES], vec![V::default(); ENTRIES]);
    let (mut next, mut begun) = (0_u32, false);
    loop {
        let place = std::ptr::from_mut(&mut next) as u64;
        let mut attributes = Attributes {
            in_batch: if begun { place } else { 0 },
            out_batch: place,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: ENTRIES as u32,
            map_fd: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        let more = match bpf(Command::MapLookupBatch, &mut attributes) {
            Ok(_) => true,
            // The end of the table. What was read before it is there.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => false,
            Err(error) => return Err(error),
        };
        keys.iter().zip(&values).take(attributes.count as usize).for_each(|(key, value)| each(*key, *value));
        if !more {
            return Ok(());
        }
        begun = true;
    }
}
