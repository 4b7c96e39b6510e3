//! Network namespaces.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Once,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The most namespaces that are visited: the kubelet's default limit is 110 pods on a node.
const MAX_NAMESPACES: usize = 4096;

/// Every network namespace that a process lives in or that has a name (ip-netns(8)), each once.
pub fn all() -> Vec<File> {
    let mut found = BTreeMap::new();
    for path in candidates() {
        if found.len() >= MAX_NAMESPACES {
            break;
        }
        match File::open(&path).and_then(|file| Ok((file.metadata()?.ino(), file))) {
            Ok((inode, file)) => _ = found.entry(inode).or_insert(file),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => tell_once(&path),
            // A process may end meanwhile.
            Err(_) => {}
        }
    }
    found.into_values().collect()
}

/// Of namespaces that have a name nothing is missed.
fn tell_once(path: &Path) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "not allowed to open {}: without CAP_SYS_PTRACE connections of pods whose network namespace has no name in \
             /run/netns are not ended when their backend dies",
            path.display()
        );
    });
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let entries = |dir: &str| fs::read_dir(Path::new(dir)).into_iter().flatten().filter_map(Result::ok);
    let is_pid = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = entries("/proc").filter(move |e| is_pid(&e.file_name())).map(|e| e.path().join("ns/net"));
    processes.chain(entries("/run/netns").map(|e| e.path()))
}

/// Runs something in a network namespace, on a thread that ends with it.
pub fn within<T: Send>(namespace: &File, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    let run = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(act())
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}
