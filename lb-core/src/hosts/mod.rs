//! What lbctl writes into a hosts file, as a function from bytes to bytes.
//!
//! lbctl owns one block between two marker lines. A foreign line for one of its names is commented out where it
//! stands; if it serves other names too, a line with those follows the comment:
//!
//! ```text
//! 127.0.0.1 localhost
//! # lbctl disabled: 192.168.0.9 apiserver.cluster.local
//! # lbctl split apiserver.cluster.local: 192.168.0.2 master1 apiserver.cluster.local
//! 192.168.0.2 master1 # lbctl: rest of the line above
//! # BEGIN lbctl: managed by lbctl, do not edit for=10.103.97.2=apiserver.cluster.local
//! 10.103.97.2 apiserver.cluster.local
//! # END lbctl
//! ```
//!
//! Every foreign line for the name counts, before or after the block and of either address family: musl, Go and
//! glibc (with `multi on`, and in getaddrinfo since 2.9) collect the addresses of all lines, and glibc answers an
//! IPv4 query from `::1`.
//!
//! All other bytes stay as they are. [`remove`] gives back exactly what was there before the first [`apply`]; the
//! first marker line remembers what the bytes alone do not tell, such as a last line that had no newline.

mod document;
pub mod in_place;
mod line;
mod marker;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::document::Document;

/// The largest hosts file that lbctl handles, in bytes. Ad-blocking lists reach a few MiB; something larger is not
/// a hosts file, and reading it would break the agent's memory budget.
pub const MAX_LEN: usize = 16 << 20;

/// One line of the block: a name and the address that it shall have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The virtual address.
    pub address: IpAddr,
    /// The name, at most 253 characters of `A-Z a-z 0-9 . _ -`.
    pub hostname: String,
}

/// Why no new content could be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// The name would not survive as one field of one line.
    #[error(
        "write {hostname:?} as a host name: only letters, digits, '.', '-' and '_' are possible, 253 at most"
    )]
    InvalidHostname {
        /// The offending name.
        hostname: String,
    },
    /// The result would exceed [`MAX_LEN`].
    #[error("handle a hosts file of {len} bytes: more than {MAX_LEN} are refused")]
    TooLarge {
        /// The length in bytes that was asked for.
        len: usize,
    },
}

/// A line outside the block that maps one of the wanted names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLine {
    /// Counted from 1.
    pub number: usize,
    /// The line without its newline; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// How a hosts file compares with what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing to do: [`apply`] would change no byte.
    InPlace,
    /// There is no block, and no foreign line for a wanted name either.
    Missing,
    /// There is a block, but with other entries, or damaged.
    Differs,
    /// Lines outside the block, which may be there or not, give a wanted name an address of their own.
    Shadowed {
        /// Those lines, in the order of the file; never empty.
        by: Vec<ForeignLine>,
    },
}

/// The content with the block for `wanted` in it. Idempotent; an empty `wanted` is the same as [`remove`].
///
/// An existing block keeps its place; a new one is put at the end.
///
/// # Errors
/// When a name cannot be written as one, or the result is larger than [`MAX_LEN`].
pub fn apply(content: &[u8], wanted: &[Entry]) -> Result<Vec<u8>, HostsError> {
    check(wanted)?;
    let content = in_place::recover(content);
    bounded(Document::parse(&content).render(wanted))
}

/// The content of a hosts file that did not exist; [`was_created`] recognizes it later.
///
/// # Errors
/// As [`apply`].
pub fn create(wanted: &[Entry]) -> Result<Vec<u8>, HostsError> {
    check(wanted)?;
    bounded(Document { created: true, ..Document::default() }.render(wanted))
}

/// The content without anything of ours: what was there before the first [`apply`], plus what others have changed
/// since.
pub fn remove(content: &[u8]) -> Vec<u8> {
    let content = in_place::recover(content);
    Document::parse(&content).render(&[])
}

/// Whether the block says that the file did not exist before lbctl made it.
pub fn was_created(content: &[u8]) -> bool {
    let content = in_place::recover(content);
    Document::parse(&content).created
}

/// Compares a hosts file with what is wanted.
///
/// # Errors
/// As [`apply`].
pub fn inspect(content: &[u8], wanted: &[Entry]) -> Result<Status, HostsError> {
    if apply(content, wanted)? == content {
        return Ok(Status::InPlace);
    }
    let document = Document::parse(content);
    let by = document.foreign_lines_for(wanted);
    Ok(if !by.is_empty() {
        Status::Shadowed { by }
    } else if document.slot.is_none() && !wanted.is_empty() {
        Status::Missing
    } else {
        Status::Differs
    })
}

fn bounded(content: Vec<u8>) -> Result<Vec<u8>, HostsError> {
    if content.len() > MAX_LEN { Err(HostsError::TooLarge { len: content.len() }) } else { Ok(content) }
}

fn check(wanted: &[Entry]) -> Result<(), HostsError> {
    let fits = |name: &str| {
        (1..=253).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    match wanted.iter().find(|entry| !fits(&entry.hostname)) {
        Some(entry) => Err(HostsError::InvalidHostname { hostname: entry.hostname.clone() }),
        None => Ok(()),
    }
}
