//! The chains of the old iptables, which live beside nftables: struct ipt_getinfo and struct ipt_get_entries,
//! include/uapi/linux/netfilter_ipv4/ip_tables.h. Only reads, and only tables that are there already: asking for
//! another would load it.
#![expect(unsafe_code, reason = "IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES are getsockopt(2) of no library's")]

use std::{fs, io, mem::size_of, os::fd::AsRawFd as _};

use rustix::net::{AddressFamily, SocketType, socket};

/// The tables that this thread's network namespace has; /proc/net is that of the process. Missing without ip_tables.
const TABLES: &str = "/proc/thread-self/net/ip_tables_names";
/// IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// The largest table that is read, in bytes: some 200,000 rules, a bound on memory.
const MAX_SIZE: u32 = 64 << 20;
/// sizeof(struct ipt_ip), and where struct ipt_entry has target_offset, next_offset and its end.
const ENTRY_OFFSETS: usize = 88;
const ENTRY: usize = 112;
/// struct xt_entry_target: its size, its name (XT_EXTENSION_MAXNAMELEN), its revision.
const TARGET_NAME: usize = 2;
const TARGET_NAME_LENGTH: usize = 29;
const TARGET: usize = 32;
/// XT_ERROR_TARGET: what a chain that a user made begins with; its name follows, XT_FUNCTION_MAXNAMELEN bytes.
const CHAIN_HEAD: &[u8] = b"ERROR";
const CHAIN_NAME_LENGTH: usize = 30;
/// The entry that ends a table looks like a chain of this name.
const TABLE_END: &str = "ERROR";

/// The names of all chains that users made, as `table chain`.
pub(super) fn chains(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let tables = match fs::read_to_string(TABLES) {
        Ok(tables) => tables,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for table in tables.lines() {
        let names = chains_in(&entries(table)?).into_iter();
        found.extend(names.filter(|name| wanted(name)).map(|name| format!("{table} {name}")));
    }
    Ok(found)
}

/// struct ipt_getinfo.
#[repr(C)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    entries: u32,
    size: u32,
}

/// struct ipt_get_entries before its entries: a name, a size, and four bytes that align what follows.
const ENTRIES_HEADER: usize = 40;

/// The rules of a table, one struct ipt_entry after the other. Between asking for their size and for themselves the
/// table may change: the kernel then says EAGAIN, and the caller looks again later.
fn entries(table: &str) -> io::Result<Vec<u8>> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut name = [0; 32];
    let room = name.get_mut(..table.len()).filter(|room| room.len() < 32);
    room.ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(table.as_bytes());

    let mut info = Info { name, valid_hooks: 0, hook_entry: [0; 5], underflow: [0; 5], entries: 0, size: 0 };
    let mut length = size_of::<Info>() as libc::socklen_t;
    // SAFETY: `info` is a repr(C) block of the length that is passed along, alive and ours alone for the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            GET_INFO,
            std::ptr::from_mut(&mut info).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if info.size > MAX_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the iptables table {table} is too large"),
        ));
    }

    let mut bytes = vec![0_u8; ENTRIES_HEADER + info.size as usize];
    bytes[..32].copy_from_slice(&name);
    bytes[32..36].copy_from_slice(&info.size.to_ne_bytes());
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: `bytes` is a struct ipt_get_entries with its entries, of the length that is passed along, alive and ours
    // alone for the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            GET_ENTRIES,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.split_off(ENTRIES_HEADER))
}

/// The names of the chains in a table's entries.
fn chains_in(mut entries: &[u8]) -> Vec<String> {
    let mut chains = Vec::new();
    while let Some(&[t0, t1, n0, n1]) = entries.get(ENTRY_OFFSETS..).and_then(<[u8]>::first_chunk::<4>) {
        let target = usize::from(u16::from_ne_bytes([t0, t1]));
        let next = usize::from(u16::from_ne_bytes([n0, n1]));
        chains.extend(chain_head(entries.get(target..next).unwrap_or_default()));
        if next < ENTRY {
            break;
        }
        entries = entries.get(next..).unwrap_or_default();
    }
    chains.retain(|chain| chain != TABLE_END);
    chains
}

/// The chain that a target is the head of.
fn chain_head(target: &[u8]) -> Option<String> {
    let name = target.get(TARGET_NAME..TARGET_NAME + TARGET_NAME_LENGTH)?;
    if until_nul(name) != CHAIN_HEAD {
        return None;
    }
    let chain = target.get(TARGET..TARGET + CHAIN_NAME_LENGTH)?;
    String::from_utf8(until_nul(chain).to_vec()).ok()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry without matches, whose target has this name and data.
    fn entry(target: &str, data: &str) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY + TARGET + 32];
        let next = bytes.len() as u16;
        bytes[ENTRY_OFFSETS..ENTRY_OFFSETS + 2].copy_from_slice(&(ENTRY as u16).to_ne_bytes());
        bytes[ENTRY_OFFSETS + 2..ENTRY_OFFSETS + 4].copy_from_slice(&next.to_ne_bytes());
        bytes[ENTRY + TARGET_NAME..][..target.len()].copy_from_slice(target.as_bytes());
        bytes[ENTRY + TARGET..][..data.len()].copy_from_slice(data.as_bytes());
        bytes
    }

    #[test]
    fn the_chains_of_users_are_found_among_rules() {
        let table = [
            entry("", ""),
            entry("ERROR", "VIRTUAL-SERVICES"),
            entry("MASQUERADE", "x"),
            entry("ERROR", "ERROR"),
        ];
        assert_eq!(chains_in(&table.concat()), ["VIRTUAL-SERVICES"]);
    }

    #[test]
    fn a_table_that_is_cut_off_or_makes_no_sense_ends_the_search() {
        let whole = entry("ERROR", "VIRTUAL-SERVICES");
        for length in 0..whole.len() {
            assert!(chains_in(&whole[..length]).is_empty(), "{length}");
        }
        assert!(chains_in(&[0; 500]).is_empty(), "an entry without a length");
    }
}
