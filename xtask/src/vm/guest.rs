//! What runs inside the virtual machine: a script around the command.

use std::{ffi::OsStr, path::Path};

use crate::process::quoted;

/// The file that the script makes when it begins: the kernel has booted.
pub(super) const STARTED: &str = "started";
/// The file into which the script writes the command's exit code.
pub(super) const STATUS: &str = "status";

/// Where init mounts the host's /usr a second time, for the script to mount it anew.
pub(super) const SECOND_USR: &str = "/run/usr";

/// What the script needs to know.
pub(super) struct Job<'a> {
    /// Where [`STARTED`] and [`STATUS`] are to be, writable inside.
    pub(super) exchange: &'a Path,
    /// The tag of the 9p device that is mounted on [`SECOND_USR`].
    pub(super) usr_tag: &'a str,
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
        cache_usr(job.usr_tag),
        "mount -t tmpfs -o mode=1777 tmpfs /tmp".to_owned(),
        "mount -t bpf -o mode=0700 bpf /sys/fs/bpf".to_owned(),
        "ip link set lo up".to_owned(),
        format!("cd {}", shown(job.folder.as_os_str())),
    ];
    for (name, value) in job.environment {
        lines.push(format!("export {name}={}", quoted(value)));
    }
    let command: Vec<String> = job.command.iter().map(|word| quoted(word)).collect();
    lines.push("status=0".to_owned());
    lines.push(format!("{} || status=$?", command.join(" ")));
    lines.push(format!("echo $status > {}", in_exchange(STATUS)));
    lines.join("\n") + "\n"
}

/// Puts a /usr in place that the page cache holds. As init mounts it, every start of a program reads it and its libraries
/// again from the host, which takes longer than to run it. Nobody changes programs while the machine runs.
fn cache_usr(tag: &str) -> String {
    [
        &format!("umount {SECOND_USR}"),
        &format!("mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose {tag} {SECOND_USR}"),
        // The modules, which init has mounted below /usr.
        "mkdir -p /run/modules /run/usr-upper /run/usr-work",
        "mount --bind /lib/modules /run/modules",
        &format!(
            "mount -t overlay -o lowerdir={SECOND_USR},upperdir=/run/usr-upper,workdir=/run/usr-work overlay /usr"
        ),
        "mkdir -p /usr/lib/modules",
        "mount --bind /run/modules /usr/lib/modules",
    ]
    .join("\n")
}

fn shown(path: &OsStr) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_runs_in_its_folder_and_its_words_stay_words() {
        let environment = [("GREETING".to_owned(), "it's me".to_owned())];
        let command = ["sh".to_owned(), "-c".to_owned(), "echo \"$GREETING\" $0; exit 7".to_owned()];
        let text = script(&Job {
            exchange: Path::new("/run/x y"),
            usr_tag: "usr",
            folder: Path::new("/home/a b"),
            environment: &environment,
            command: &command,
        });
        let lines: Vec<&str> = text.lines().collect();
        let position =
            |line: &str| lines.iter().position(|l| *l == line).unwrap_or_else(|| panic!("{line}: {text}"));
        let order = [
            position(": > '/run/x y/started'"),
            position("cd '/home/a b'"),
            position(r"export GREETING='it'\''s me'"),
            position(r#"sh -c 'echo "$GREETING" $0; exit 7' || status=$?"#),
            position("echo $status > '/run/x y/status'"),
        ];
        assert!(order.is_sorted(), "{text}");
    }
}
