//! The hosts file, who else writes it, and whether anybody reads it.

use super::{Code, Facts, Finding, HostsFact, Severity};
use crate::hosts::{ForeignLine, Status};

/// Sources that answer from the hosts file themselves, nss-resolve(8), or only for names that are not ours,
/// nss-mymachines(8) and nss-myhostname(8).
const HARMLESS: [&str; 3] = ["resolve", "mymachines", "myhostname"];

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let has_names = facts.config().is_some_and(|config| !config.hosts_entries().is_empty());
    let mut findings = Vec::new();
    if has_names {
        findings.extend(facts.hosts.iter().flat_map(|hosts| entry(facts, hosts)));
        findings.extend(nsswitch(facts));
    } else if facts.config().is_some() {
        findings.push(Finding::ok(Code::HostsEntry, "no service has a hostname: no entry is wanted"));
    }
    findings.push(cloud_init(facts));
    findings
}

fn entry(facts: &Facts, HostsFact { path, status }: &HostsFact) -> Vec<Finding> {
    let managed = facts.config().is_some_and(|config| config.hosts.manage);
    let path = path.display();
    // The agent mends the file within a moment, so what is wrong beside a running one stays wrong.
    let severity = if managed && facts.agent_runs() { Severity::Fail } else { Severity::Warn };
    let remedy = match (managed, facts.agent_runs()) {
        (true, true) => "`lbctl status` says why the agent does not mend it",
        (true, false) => "the agent mends it when it starts; `lbctl hosts apply` does so now",
        (false, _) => {
            "lbctl hosts apply, or see that the name is resolved some other way (hosts.manage is false)"
        }
    };
    let missing = |what: &str| Finding::bad(severity, Code::HostsEntry, format!("{path}: {what}"), remedy);
    match status {
        Ok(Status::InPlace) => vec![
            Finding::ok(Code::HostsEntry, format!("{path}: in place")),
            Finding::ok(Code::HostsForeign, "no other line has our names"),
        ],
        Ok(Status::Missing) => vec![missing("there is no entry of ours")],
        Ok(Status::Differs) => vec![missing("our entry is another one, or damaged")],
        Ok(Status::Shadowed { by }) => {
            let severity = if managed { severity } else { Severity::Fail };
            let line = |ForeignLine { number, text }: &ForeignLine| {
                let message = format!("{path}:{number}: maps our name elsewhere: {text}");
                Finding::bad(severity, Code::HostsForeign, message, remedy)
            };
            by.iter().map(line).collect()
        }
        Err(why) => vec![missing(why)],
    }
}

fn cloud_init(facts: &Facts) -> Finding {
    let Some(set) = &facts.cloud_init else {
        return Finding::ok(Code::HostsCloudInit, "cloud-init does not manage the hosts file");
    };
    let (path, value) = (set.path.display(), set.value.trim_matches(['"', '\'']));
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "template" => Finding::warn(
            Code::HostsCloudInit,
            format!("{path}: manage_etc_hosts: {value}: cloud-init writes the hosts file anew at each boot"),
            "set manage_etc_hosts to false or localhost; until the agent is up, the entry is missing after a boot",
        ),
        _ => Finding::ok(
            Code::HostsCloudInit,
            format!("{path}: manage_etc_hosts: {value} leaves our entry alone"),
        ),
    }
}

/// nsswitch.conf(5): sources in order, each perhaps followed by actions in brackets.
fn nsswitch(facts: &Facts) -> Option<Finding> {
    let line = facts.nsswitch.as_ref()?;
    let spaced = line.replace('[', " [").replace(']', "] ");
    let mut before: Vec<&str> = Vec::new();
    let mut ends = false;
    let mut in_action = false;
    for word in spaced.split_whitespace() {
        if word.starts_with('[') {
            in_action = true;
        }
        if in_action {
            let harmless = before.last().is_some_and(|source| HARMLESS.contains(source));
            ends |= !harmless && word.to_ascii_lowercase().contains("=return");
            in_action = !word.ends_with(']');
        } else if word == "files" {
            return Some(order(line, &before, ends));
        } else {
            before.push(word);
        }
    }
    let remedy = "add `files` as the first source of `hosts:` in /etc/nsswitch.conf";
    let reads_it = before.contains(&"resolve");
    let message = format!("hosts: {line}: the hosts file is not asked");
    Some(match reads_it {
        true => Finding::warn(Code::Nsswitch, format!("{message}, unless systemd-resolved runs"), remedy),
        false => Finding::fail(Code::Nsswitch, message, remedy),
    })
}

fn order(line: &str, before: &[&str], ends: bool) -> Finding {
    let earlier: Vec<_> = before.iter().copied().filter(|source| !HARMLESS.contains(source)).collect();
    if earlier.is_empty() {
        return Finding::ok(Code::Nsswitch, format!("hosts: {line}"));
    }
    let remedy = "put `files` before it in the `hosts:` line of /etc/nsswitch.conf";
    let earlier = earlier.join(", ");
    if ends {
        let message = format!("hosts: {line}: {earlier} may end the search before the hosts file is asked");
        return Finding::fail(Code::Nsswitch, message, remedy);
    }
    let message =
        format!("hosts: {line}: {earlier} comes before the hosts file: slow, and it may answer otherwise");
    Finding::warn(Code::Nsswitch, message, remedy)
}
