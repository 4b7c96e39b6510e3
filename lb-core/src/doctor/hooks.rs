//! Whether connects to the VIPs are steered, and who else hangs on the same hooks.

use std::collections::BTreeMap;

use super::{AgentFact, Code, Facts, Finding, SelfConnect};
use crate::model::DataplaneKind;

/// What Cilium's programs are called, bpf/bpf_sock.c; before 1.13 without `cil_`.
const CILIUM: [&str; 3] = ["cil_sock", "sock4_", "sock6_"];

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = effect(facts);
    findings.extend(foreign(facts));
    findings
}

fn effect(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.agent {
        Some(AgentFact::Running { ineffective: Some(why), .. }) => findings.push(Finding::fail(
            Code::HookEffect,
            format!("the agent says that its dataplane is not effective: {why}"),
            "in a container mount the host's cgroup root and set `cgroup:` to it; see `lbctl status`",
        )),
        Some(AgentFact::Running { ineffective: None, .. }) => findings.push(Finding::ok(
            Code::HookEffect,
            "the agent has proven that connects pass through its dataplane",
        )),
        Some(AgentFact::NotRunning) | None if facts.held.is_none() => {
            findings.push(Finding::ok(Code::HookEffect, "nothing is programmed on this node yet"));
        }
        Some(AgentFact::NotRunning) | None => {}
    }
    findings.extend(facts.connects.iter().map(|connect| self_connect(facts, connect)));
    findings
}

fn self_connect(facts: &Facts, SelfConnect { vip, peer }: &SelfConnect) -> Finding {
    match peer {
        // The others change packets, not sockets: their sockets talk to the VIP.
        Ok(peer) if peer == vip && !facts.held.is_some_and(|held| held.has(DataplaneKind::Socket)) => {
            Finding::ok(Code::HookEffect, format!("a connect to {vip} is answered"))
        }
        Ok(peer) if peer == vip && !facts.lives_in_cgroup => Finding::warn(
            Code::HookEffect,
            format!("a connect to {vip} was not steered, but doctor runs outside the agent's cgroup"),
            "run doctor from a login shell of the host",
        ),
        Ok(peer) if peer == vip => Finding::fail(
            Code::HookEffect,
            format!("a connect to {vip} is not steered: somebody else answers there"),
            "see VIP-INTERFACE and HOOK-FOREIGN, and that `cgroup:` is the host's true cgroup-v2 root",
        ),
        Ok(peer) => Finding::ok(Code::HookEffect, format!("a connect to {vip} goes to {peer}")),
        Err(why) => Finding::warn(
            Code::HookEffect,
            format!("a connect to {vip} fails: {why}"),
            "`lbctl backends` says who serves; with `scope: host` run doctor in the agent's network namespace",
        ),
    }
}

fn foreign(facts: &Facts) -> Vec<Finding> {
    let Some(hooks) = &facts.hooks else { return Vec::new() };
    let mut findings = Vec::new();
    if !hooks.exclusive.is_empty() {
        findings.push(Finding::fail(
            Code::HookForeign,
            format!("somebody holds {} of the cgroup for one program alone", hooks.exclusive.join(", ")),
            "have that program attached with BPF_F_ALLOW_MULTI (bpftool cgroup show names it), or set dataplane: ipvs",
        ));
    }
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for program in &hooks.foreign {
        by_name.entry(&program.name).or_default().push(format!("{} (id {})", program.hook, program.id));
    }
    if by_name.is_empty() && findings.is_empty() {
        findings.push(Finding::ok(Code::HookForeign, "no programs of others"));
    } else if !by_name.is_empty() {
        let list: Vec<_> =
            by_name.iter().map(|(name, places)| format!("{name} on {}", places.join(", "))).collect();
        let list = list.join("; ");
        let is_cilium = |name: &&str| CILIUM.iter().any(|prefix| name.starts_with(prefix));
        findings.push(if by_name.keys().all(is_cilium) {
            Finding::warn(
                Code::HookForeign,
                format!("Cilium balances on the same hooks: {list}"),
                "both work side by side as long as no Service of the cluster has the VIP as an address",
            )
        } else {
            Finding::warn(
                Code::HookForeign,
                format!("programs of others on the same hooks: {list}"),
                "see that they leave connects to the VIP and to the backends alone (bpftool prog show id ID)",
            )
        });
    }
    findings
}
