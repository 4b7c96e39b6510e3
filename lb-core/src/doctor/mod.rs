//! What `lbctl doctor` finds: each precondition and conflict of a node, judged from facts that others have gathered.
//!
//! A fact that could not be learnt is a [`Gap`], and a gap is a warning: never a reason to say nothing at all.

mod certificate;
mod cidr;
mod code;
mod dataplane;
mod facts;
mod finding;
mod hooks;
mod hosts;
mod kernel;
mod packet;
mod proxy;
mod setup;
#[cfg(test)]
mod tests;
mod vip;

pub use code::Code;
pub use facts::{
    AgentFact, AnswerFact, AttachedProgram, BackendFact, CertificateFact, CidrFact, CidrUse, ConfigFact,
    DropIn, Facts, Gap, HookFacts, HostsFact, IpvsFacts, KubeProxyFact, Lack, LinkFact, Memlock, Module,
    Origin, PacketFacts, Programs, ProxyFact, SelfConnect,
};
pub use finding::{Finding, Report, Severity, Summary, Verdict};
pub use packet::is_used as uses_packets;

/// Judges everything that is known, in the order of [`Code::ALL`]. What a code says twice, as about two backends, stands
/// in the order of the facts.
pub fn judge(facts: &Facts) -> Report {
    let mut findings = Vec::new();
    findings.extend(setup::judge(facts));
    findings.extend(dataplane::judge(facts));
    findings.extend(kernel::judge(facts));
    findings.extend(hooks::judge(facts));
    findings.extend(packet::judge(facts));
    findings.extend(vip::judge(facts));
    findings.extend(hosts::judge(facts));
    findings.extend(proxy::judge(facts));
    findings.extend(certificate::judge(facts));
    findings.extend(facts.gaps.iter().map(Gap::finding));
    findings.sort_by_key(|finding| finding.code);
    Report::new(findings)
}
