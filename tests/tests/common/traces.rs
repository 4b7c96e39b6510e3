//! Everything on a node that the agent could leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lb_tests::Lab;
use lb_tests::command::run;

/// What there is. Links are those of the whole machine, so no other lab may have an agent meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    pub links: String,
    pub attached: String,
    pub pins: Vec<PathBuf>,
    pub hosts: String,
    pub files: Vec<PathBuf>,
    pub network: BTreeMap<&'static str, String>,
    pub sysctls: BTreeMap<PathBuf, String>,
}

/// Questions to the node's network namespace, each with an answer that must be the same again. Neighbours, counters and
/// whatever else changes by itself is left out.
const QUESTIONS: [&str; 6] = [
    "ip address show",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule show",
    "nft list ruleset",
    // Of a kernel that has it, or else what says that it has none.
    "ipvsadm -Ln 2>&1 | sed 's/size=.*//'",
];

impl Traces {
    pub fn of(lab: &Lab) -> Self {
        let cgroup = lab.node().cgroup().path();
        let pins = lab.pins();
        let written_by_the_test =
            ["logs", "bpffs", "config.yaml", "foreign.yaml"].map(|name| lab.dir().join(name));
        let skipped = |path: &PathBuf| !written_by_the_test.iter().any(|own| path.starts_with(own));
        let answer = |question| (question, lab.node().run(&["sh", "-c", question]).unwrap().stdout);
        Self {
            // First: it makes a kernel that has IPVS load it, and its sysctls with it.
            network: QUESTIONS.into_iter().rev().map(answer).collect(),
            links: run(&["bpftool", "link", "list"]).unwrap(),
            attached: run(&["bpftool", "cgroup", "show", cgroup.to_str().unwrap()]).unwrap(),
            pins: tree(pins.parent().unwrap()),
            hosts: fs::read_to_string(lab.hosts_file()).unwrap(),
            files: tree(lab.dir()).into_iter().filter(skipped).collect(),
            sysctls: sysctls(lab),
        }
    }
}

/// What IPVS and forwarding are told in the node's network namespace.
fn sysctls(lab: &Lab) -> BTreeMap<PathBuf, String> {
    let script = "cd /proc/sys/net && find ipv4/vs ipv4/ip_forward ipv6/conf/all/forwarding -type f -perm -400 \
                  -exec grep -H '' {} + 2>/dev/null";
    let text = lab.node().run(&["sh", "-c", script]).unwrap().stdout;
    let read = text.lines().filter_map(|line| line.split_once(':'));
    read.map(|(name, value)| (PathBuf::from(name), value.to_owned())).collect()
}

fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
