//! The configuration, this process and the agent.

use super::{AgentFact, Code, ConfigFact, Facts, Finding, packet};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![config(facts)];
    findings.extend(capabilities(facts));
    findings.extend(agent(facts));
    findings
}

fn config(facts: &Facts) -> Finding {
    match &facts.config {
        ConfigFact::Good(config) => {
            let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
            let services = config.services.len();
            let plural = |count| if count == 1 { "" } else { "s" };
            let message =
                format!("{services} service{}, {backends} backend{}", plural(services), plural(backends));
            Finding::ok(Code::Config, message)
        }
        ConfigFact::None => Finding::warn(
            Code::Config,
            "there is no config: what depends on the VIP and the backends was not looked at",
            "name a file with --config, or give --vip, --backend and --hostname",
        ),
        ConfigFact::Bad(why) => Finding::fail(Code::Config, why, "mend it; `lbctl check` shows each mistake"),
    }
}

fn capabilities(facts: &Facts) -> Option<Finding> {
    let missing = facts.missing_capabilities.as_ref()?;
    // Which kernels need CAP_PERFMON, a try tells.
    let taken = matches!(facts.packet_programs, Some(Ok(())));
    let for_packets = facts.missing_for_packets.iter().filter(|name| !(taken && **name == "CAP_PERFMON"));
    let for_packets: Vec<_> = for_packets.copied().collect();
    Some(if missing.is_empty() && (for_packets.is_empty() || !packet::is_used(facts)) {
        Finding::ok(Code::Capabilities, "this process may do what the agent needs")
    } else if missing.is_empty() {
        let message = format!(
            "this process lacks {}: without CAP_PERFMON older kernels take no programs of the packet dataplane, \
             without CAP_NET_RAW connections of other machines cannot be ended",
            for_packets.join(", ")
        );
        Finding::warn(Code::Capabilities, message, "run doctor as root; an agent needs both")
    } else {
        let message = format!("this process lacks {}: much cannot be told", missing.join(", "));
        Finding::fail(Code::Capabilities, message, "run doctor as root")
    })
}

fn agent(facts: &Facts) -> Vec<Finding> {
    match &facts.agent {
        None => Vec::new(),
        Some(AgentFact::NotRunning) => vec![Finding::warn(
            Code::Agent,
            "no agent runs: nobody watches the backends",
            "start `lbctl run`; before the first start this is as expected",
        )],
        Some(AgentFact::Running { version, dataplanes, warnings, .. }) => {
            let message = format!("lbctl {version} runs, with {dataplanes}");
            let told = warnings.iter().map(|warning| {
                Finding::warn(Code::Agent, format!("it warns: {warning}"), "see `lbctl status`")
            });
            std::iter::once(Finding::ok(Code::Agent, message)).chain(told).collect()
        }
    }
}
