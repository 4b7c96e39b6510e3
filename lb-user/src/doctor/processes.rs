//! Processes whose command lines say how the cluster is set up.

use std::{fs, io, path::PathBuf};

use super::Host;

/// The programs that matter here.
const WANTED: [&str; 4] = ["kube-proxy", "kube-apiserver", "kube-controller-manager", "firewalld"];

/// TASK_COMM_LEN without its NUL, include/linux/sched.h: the kernel keeps no more of a name.
const COMM: usize = 15;

/// The most processes that are looked at: kernel.pid_max is 32,768 unless raised, and each takes two system calls.
const MOST: usize = 65_536;

/// A process that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) name: &'static str,
    /// Its command line without the program.
    pub(super) arguments: Vec<String>,
    /// Its root directory as seen from here: a container's.
    pub(super) root: PathBuf,
}

/// The processes that matter here.
pub(super) fn read(host: &Host) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(host.path("/proc"))?.filter_map(Result::ok).take(MOST) {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process may end meanwhile.
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let Some(wanted) = WANTED.into_iter().find(|wanted| matches(comm.trim_end(), wanted)) else {
            continue;
        };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words = line.split(|byte| *byte == 0).skip(1).filter(|word| !word.is_empty());
        let arguments = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        found.push(Process { name: wanted, arguments, root: entry.path().join("root") });
    }
    Ok(found)
}

fn matches(comm: &str, wanted: &str) -> bool {
    comm == wanted.get(..COMM).unwrap_or(wanted)
}

/// The value of a flag: `--name=value` or `--name value`. The last one counts.
pub(super) fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let joined = |argument: &'a String| argument.strip_prefix(name)?.strip_prefix('=');
    let value = |(at, argument): (usize, &'a String)| {
        joined(argument).or_else(|| {
            let next = (argument == name).then(|| arguments.get(at + 1));
            next.flatten().map(String::as_str)
        })
    };
    arguments.iter().enumerate().rev().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_the_part_of_its_name_that_the_kernel_keeps() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, comm, line) in [
            ("7", "kube-controller\n", "kube-controller-manager\0--cluster-cidr=10.244.0.0/16\0"),
            ("8", "bash\n", "bash\0"),
            ("x", "kube-proxy\n", "kube-proxy\0"),
        ] {
            let process = dir.path().join("proc").join(pid);
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("comm"), comm).unwrap();
            fs::write(process.join("cmdline"), line).unwrap();
        }
        let found = read(&Host::new(dir.path())).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].name, "kube-controller-manager");
        assert_eq!(flag(&found[0].arguments, "--cluster-cidr"), Some("10.244.0.0/16"));
    }

    #[test]
    fn a_flags_value_follows_it_or_an_equals_sign() {
        let words = ["--a=1", "--b", "2", "--a=3", "--ab=4"].map(str::to_owned);
        assert_eq!(flag(&words, "--a"), Some("3"));
        assert_eq!(flag(&words, "--b"), Some("2"));
        assert_eq!(flag(&words, "--c"), None);
        assert_eq!(flag(&["--b".to_owned()], "--b"), None);
    }
}
