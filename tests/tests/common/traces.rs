//! Everything on a node that the agent could leave behind.

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
    pub network: String,
}

/// Asks the node's network namespace what must be the same again. Neighbours, counters and whatever else changes by itself
/// is left out. IPVS comes first: that makes a kernel that has it load it, and its sysctls with it.
const QUESTIONS: &str = "ipvsadm -Sn
    nft list ruleset
    ip address show
    ip route show table all
    ip rule
    tc qdisc show
    for interface in $(ls /sys/class/net); do tc filter show dev $interface ingress; tc filter show dev $interface egress; done
    grep -rs . /proc/sys/net/ipv4/vs /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

impl Traces {
    pub fn of(lab: &Lab) -> Self {
        let cgroup = lab.node().cgroup().path();
        let pins = lab.pins();
        let written_by_the_test =
            ["logs", "bpffs", "config.yaml", "foreign.yaml"].map(|name| lab.dir().join(name));
        let skipped = |path: &PathBuf| !written_by_the_test.iter().any(|own| path.starts_with(own));
        Self {
            network: lab.node().run(&["sh", "-c", QUESTIONS]).unwrap().stdout,
            links: run(&["bpftool", "link", "list"]).unwrap(),
            attached: run(&["bpftool", "cgroup", "show", cgroup.to_str().unwrap()]).unwrap(),
            pins: tree(pins.parent().unwrap()),
            hosts: fs::read_to_string(lab.hosts_file()).unwrap(),
            files: tree(lab.dir()).into_iter().filter(skipped).collect(),
        }
    }
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
