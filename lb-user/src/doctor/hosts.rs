//! The hosts file, cloud-init and nsswitch.conf.

use std::path::{Path, PathBuf};

use lb_core::{
    doctor::{Code, DropIn, Facts, HostsFact},
    hosts::{self, Status},
};

use super::{Host, known};
use crate::os::hosts::HostsFile;

const NSSWITCH: &str = "/etc/nsswitch.conf";
/// cloud-init does nothing where this exists.
const CLOUD_INIT_OFF: &str = "/etc/cloud/cloud-init.disabled";
const CLOUD_CONFIG: &str = "/etc/cloud/cloud.cfg";
const CLOUD_DROP_INS: &str = "/etc/cloud/cloud.cfg.d";
/// What the cloud itself sent.
const CLOUD_DATA: &str = "/var/lib/cloud/instance/cloud-config.txt";

pub(super) fn look(host: &Host, file: &Path, facts: &mut Facts) {
    facts.hosts = hosts_file(file, facts);
    facts.cloud_init = cloud_init(host, facts);
    let text = known(facts, Code::Nsswitch, format!("read {NSSWITCH}"), host.read(NSSWITCH)).flatten();
    facts.nsswitch = text.as_deref().and_then(hosts_line);
}

fn hosts_file(file: &Path, facts: &mut Facts) -> Option<HostsFact> {
    let wanted = facts.config()?.hosts_entries();
    let path = file.to_owned();
    let status = match HostsFile::new(file).read() {
        Ok(Some(content)) => hosts::inspect(&content, &wanted).map_err(|error| format!("failed to {error}")),
        Ok(None) => Ok(Status::Missing),
        Err(error) => known(facts, Code::HostsEntry, format!("read {}", path.display()), Err(error))?,
    };
    Some(HostsFact { path, status })
}

/// The last one counts, as cloud-init merges them.
fn cloud_init(host: &Host, facts: &mut Facts) -> Option<DropIn> {
    if host.path(CLOUD_INIT_OFF).exists() {
        return None;
    }
    let mut files = vec![PathBuf::from(CLOUD_CONFIG)];
    let drop_ins = host.list(CLOUD_DROP_INS, &[".cfg"]);
    let operation = format!("list {CLOUD_DROP_INS}");
    files.extend(known(facts, Code::HostsCloudInit, operation, drop_ins).unwrap_or_default());
    files.push(PathBuf::from(CLOUD_DATA));
    let mut found = None;
    for path in files {
        let text = known(facts, Code::HostsCloudInit, format!("read {}", path.display()), host.read(&path));
        if let Some(value) = text.flatten().as_deref().and_then(managed) {
            found = Some(DropIn { path, value: value.to_owned() });
        }
    }
    found
}

/// By line, not as YAML: these files may be templates.
fn managed(text: &str) -> Option<&str> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix("manage_etc_hosts:"));
    values.next_back().map(|value| value.split('#').next().unwrap_or_default().trim())
}

fn hosts_line(text: &str) -> Option<String> {
    let without_comment = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let line = text.lines().map(without_comment).find(|line| line.starts_with("hosts:"))?;
    Some(line.trim_start_matches("hosts:").split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lb_core::{
        config::{Overrides, load},
        doctor::ConfigFact,
    };

    use super::*;

    fn facts() -> Facts {
        let overrides = Overrides {
            vip: Some("10.103.97.2:6443".to_owned()),
            backends: vec!["192.168.0.2:6443".to_owned()],
            hostname: Some("apiserver.cluster.local".to_owned()),
            ..Overrides::default()
        };
        Facts { config: ConfigFact::Good(Box::new(load(None, &overrides).unwrap())), ..Facts::default() }
    }

    fn looked(root: &Path) -> Facts {
        let mut facts = facts();
        look(&Host::new(root), &root.join("etc/hosts"), &mut facts);
        facts
    }

    #[test]
    fn the_hosts_file_is_compared_with_what_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(looked(dir.path()).hosts.unwrap().status, Ok(Status::Missing));
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/hosts"), "192.168.0.9 apiserver.cluster.local\n").unwrap();
        assert!(matches!(looked(dir.path()).hosts.unwrap().status, Ok(Status::Shadowed { .. })));
    }

    #[test]
    fn cloud_inits_last_word_counts_unless_it_is_switched_off() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/cloud/cloud.cfg.d")).unwrap();
        fs::write(dir.path().join("etc/cloud/cloud.cfg"), "manage_etc_hosts: false\n").unwrap();
        fs::write(dir.path().join("etc/cloud/cloud.cfg.d/9.cfg"), "a: 1\nmanage_etc_hosts: true # x\n")
            .unwrap();
        let set = looked(dir.path()).cloud_init.unwrap();
        assert_eq!(
            (set.path.as_path(), set.value.as_str()),
            (Path::new("/etc/cloud/cloud.cfg.d/9.cfg"), "true")
        );
        fs::write(dir.path().join("etc/cloud/cloud-init.disabled"), "").unwrap();
        assert_eq!(looked(dir.path()).cloud_init, None);
    }

    #[test]
    fn the_hosts_line_of_nsswitch_is_taken_without_its_comment() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(looked(dir.path()).nsswitch, None);
        fs::create_dir(dir.path().join("etc")).unwrap();
        let text = "passwd: files\nhosts:   files  mdns4_minimal [NOTFOUND=return] dns # x\n";
        fs::write(dir.path().join("etc/nsswitch.conf"), text).unwrap();
        assert_eq!(looked(dir.path()).nsswitch.unwrap(), "files mdns4_minimal [NOTFOUND=return] dns");
    }
}
