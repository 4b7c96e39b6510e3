//! What is in the image: the binary, and the directories over which a container's mounts go.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// Where the binary lies, without the leading `/`.
pub(super) const BINARY: &str = "lbctl";
/// By this name static pods start lvscare, whose command line `lbctl care` takes.
const LVSCARE: &str = "usr/bin/lvscare";

/// The directories that a config names by default, those that every container mounts, and `host`, for what is the node's.
const DIRECTORIES: [&str; 8] =
    ["dev", "etc/lbctl", "host", "proc", "run/lbctl", "sys", "tmp", "var/lib/lbctl"];

/// A file of the image.
enum Entry<'a> {
    Directory { mode: u32 },
    Program(&'a [u8]),
    Link { to: String },
}

/// A tar of the image's files. `date` is when all of them were made, in seconds since 1970.
///
/// # Errors
/// When a path does not fit into a tar.
pub(super) fn tar(binary: &[u8], date: u64) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in entries(binary) {
        append(&mut tar, &path, &entry, date)?;
    }
    tar.into_inner()
}

/// Compresses, without a name or a date.
///
/// # Errors
/// Never for memory.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// By their paths, so that parents come first.
fn entries(binary: &[u8]) -> BTreeMap<String, Entry<'_>> {
    let files = [
        (BINARY.to_owned(), Entry::Program(binary)),
        (LVSCARE.to_owned(), Entry::Link { to: format!("/{BINARY}") }),
    ];
    let directories = DIRECTORIES.map(|directory| {
        let mode = if directory == "tmp" { 0o1777 } else { 0o755 };
        (format!("{directory}/"), Entry::Directory { mode })
    });
    let mut entries = BTreeMap::from_iter(files.into_iter().chain(directories));
    for path in entries.keys().cloned().collect::<Vec<_>>() {
        for (end, _) in path.match_indices('/') {
            entries.entry(path[..=end].to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
    }
    entries
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry<'_>, date: u64) -> io::Result<()> {
    match entry {
        Entry::Directory { mode } => {
            tar.append_data(&mut header(EntryType::Directory, *mode, 0, date), path, io::empty())
        }
        Entry::Program(bytes) => {
            tar.append_data(&mut header(EntryType::Regular, 0o755, bytes.len(), date), path, *bytes)
        }
        Entry::Link { to } => tar.append_link(&mut header(EntryType::Symlink, 0o777, 0, date), path, to),
    }
}

/// Everything is root's.
pub(super) fn header(kind: EntryType, mode: u32, size: usize, date: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size as u64);
    header.set_mtime(date);
    header
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    /// Path, kind, mode, date and contents of each entry, in their order.
    fn listed(tar: &[u8]) -> Vec<(String, EntryType, u32, u64, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "everything is root's");
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            (path, header.entry_type(), header.mode().unwrap(), header.mtime().unwrap(), contents)
        });
        entries.collect()
    }

    #[test]
    fn the_binary_can_be_run_and_is_the_one_that_was_given() {
        let listed = listed(&tar(b"the binary", 7).unwrap());
        let (_, kind, mode, date, contents) = listed.iter().find(|entry| entry.0 == BINARY).unwrap();
        assert_eq!((*kind, *mode, *date), (EntryType::Regular, 0o755, 7));
        assert_eq!(contents, b"the binary");
        let files: Vec<_> = listed.iter().filter(|entry| entry.1 != EntryType::Directory).collect();
        assert_eq!(files.len(), 2, "the binary and lvscare's name for it: {files:?}");
    }

    #[test]
    fn entries_are_sorted_and_every_parent_comes_before_its_children() {
        let paths: Vec<String> = listed(&tar(b"", 0).unwrap()).into_iter().map(|entry| entry.0).collect();
        assert!(paths.is_sorted(), "{paths:?}");
        for path in &paths {
            let name = path.trim_end_matches('/');
            if let Some((parent, _)) = name.rsplit_once('/') {
                assert!(paths.contains(&format!("{parent}/")), "{path} has no parent in {paths:?}");
            }
        }
    }

    #[test]
    fn what_a_config_names_by_default_can_be_mounted_over() {
        let modes: BTreeMap<String, u32> =
            listed(&tar(b"", 0).unwrap()).into_iter().map(|entry| (entry.0, entry.2)).collect();
        for directory in ["etc/lbctl/", "host/", "run/lbctl/", "var/lib/lbctl/"] {
            assert_eq!(modes.get(directory), Some(&0o755), "{directory}");
        }
        assert_eq!(modes.get("tmp/"), Some(&0o1777));
    }

    #[test]
    fn compressed_bytes_carry_no_date_and_come_back() {
        let packed = gzip(b"the same").unwrap();
        // MTIME, RFC 1952 section 2.3.
        assert_eq!(packed[4..8], [0; 4]);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, b"the same");
    }
}
