//! What runs inside the virtual machine: a script around the command.

use std::{ffi::OsStr, path::Path};

use crate::process::quoted;

/// The file that the script makes when it begins: the kernel has booted.
pub(super) const STARTED: &str = "started";
/// The file into which the script writes the command's exit code.
pub(super) const STATUS: &str = "status";

/// Where init mounts the host's root directory a second time, for the script to mount it anew.
pub(super) const HOST: &str = "/run/host";
/// Where the script puts together what the command sees as its root directory.
const ROOT: &str = "/run/root";
/// What the command has from the machine's init: what is mounted there, and below.
const FROM_INIT: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A directory that is the host's own.
pub(super) struct Share<'a> {
    /// The tag of its 9p device.
    pub(super) tag: String,
    /// Where it is, here and there.
    pub(super) dir: &'a Path,
}

/// What the script needs to know.
pub(super) struct Job<'a> {
    /// Where [`STARTED`] and [`STATUS`] are to be, writable inside.
    pub(super) exchange: &'a Path,
    /// The host's root directory, mounted on [`HOST`].
    pub(super) host_tag: &'a str,
    /// What the command may change for good.
    pub(super) shares: &'a [Share<'a>],
    /// Where the command runs.
    pub(super) folder: &'a Path,
    /// Its environment, beside what the machine itself sets.
    pub(super) environment: &'a [(String, String)],
    /// The command's words.
    pub(super) command: &'a [String],
}

/// The script, for sh(1).
///
/// The machine's init has mounted /proc, /sys, /dev, a cgroup2 and a tmpfs on /run. Stdin stays open as long as the
/// one who started the machine lives: when it ends, so does the machine.
pub(super) fn script(job: &Job<'_>) -> String {
    let in_exchange = |file: &str| shown(job.exchange.join(file).as_os_str());
    let mut lines = vec![
        "set -e".to_owned(),
        format!(": > {}", in_exchange(STARTED)),
        "exec 3<&0 </dev/null".to_owned(),
        "{ cat <&3 >/dev/null 2>&1 || true; echo o > /proc/sysrq-trigger; } &".to_owned(),
        "exec 3<&-".to_owned(),
        root(job),
        "ip link set lo up".to_owned(),
    ];
    for (name, value) in job.environment {
        lines.push(format!("export {name}={}", quoted(value)));
    }
    let command: Vec<String> = job.command.iter().map(|word| quoted(word)).collect();
    lines.extend([
        "status=0".to_owned(),
        format!("chroot {ROOT} {} || status=$?", within(job.folder, &command.join(" "))),
        "sync".to_owned(),
        format!("echo $status > {}", in_exchange(STATUS)),
    ]);
    lines.join("\n") + "\n"
}

/// Puts the command's root directory together, from mounts that the page cache holds. As init mounts them, every start of
/// a program reads it and its libraries again from the host, which takes longer than to run it. What is changed beyond the
/// shares stays in the machine's memory.
fn root(job: &Job<'_>) -> String {
    const OPTIONS: &str = "trans=virtio,version=9p2000.L,msize=524288,cache=loose";
    let mut lines = vec![
        format!("umount {HOST}"),
        format!("mount -t 9p -o ro,{OPTIONS} {} {HOST}", job.host_tag),
        format!("mkdir -p {ROOT} /run/upper /run/work"),
        format!("mount -t overlay -o lowerdir={HOST},upperdir=/run/upper,workdir=/run/work overlay {ROOT}"),
    ];
    lines.extend(FROM_INIT.iter().map(|dir| format!("mount --rbind {dir} {ROOT}{dir}")));
    lines.extend([
        format!("mount -t tmpfs -o mode=755 tmpfs {ROOT}/run"),
        format!("mount -t tmpfs -o mode=1777 tmpfs {ROOT}/tmp"),
        format!("mount -t bpf -o mode=0700 bpf {ROOT}/sys/fs/bpf"),
        // The kernel's modules, which init has mounted.
        format!("mkdir -p {ROOT}/usr/lib/modules"),
        format!("mount --bind /lib/modules {ROOT}/usr/lib/modules"),
    ]);
    for Share { tag, dir } in job.shares {
        let (from, to) = (shown(dir.as_os_str()), quoted(&format!("{ROOT}{}", dir.display())));
        lines.push(format!("umount {from}"));
        // Below /tmp it is not there yet.
        lines.push(format!("mkdir -p {to}"));
        lines.push(format!("mount -t 9p -o {OPTIONS} {tag} {to}"));
    }
    lines.join("\n")
}

/// The words that run a command line in a folder.
fn within(folder: &Path, command: &str) -> String {
    let line = format!("cd {} && {command}", shown(folder.as_os_str()));
    format!("sh -c {}", quoted(&line))
}

fn shown(path: &OsStr) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_one_word_for_the_shell_that_runs_it_in_its_folder() {
        let line = within(Path::new("/home/a b"), "echo 'it is'");
        assert_eq!(line, r"sh -c 'cd '\''/home/a b'\'' && echo '\''it is'\'''");
    }

    #[test]
    fn the_shares_are_there_before_the_command_and_written_before_its_end_is_told() {
        let environment = [("GREETING".to_owned(), "it's me".to_owned())];
        let command = ["sh".to_owned(), "-c".to_owned(), "echo \"$GREETING\" $0; exit 7".to_owned()];
        let text = script(&Job {
            exchange: Path::new("/run/x y"),
            host_tag: "host",
            shares: &[Share { tag: "a".to_owned(), dir: Path::new("/home/a b") }],
            folder: Path::new("/home/a b"),
            environment: &environment,
            command: &command,
        });
        let lines: Vec<&str> = text.lines().collect();
        let position =
            |line: &str| lines.iter().position(|l| *l == line).unwrap_or_else(|| panic!("{line}: {text}"));
        let order = [
            position(": > '/run/x y/started'"),
            position("umount '/home/a b'"),
            position(r"export GREETING='it'\''s me'"),
            position("sync"),
            position("echo $status > '/run/x y/status'"),
        ];
        assert!(order.is_sorted(), "{text}");
    }
}
