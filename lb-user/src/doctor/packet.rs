//! What packets meet on this node, where they are translated.

use std::{collections::BTreeSet, net::SocketAddr};

use lb_core::doctor::{Code, Facts, Lack, uses_packets};

use super::{Host, gap, kernel::first_lines};
use crate::{
    dataplane::{self, DataplaneError},
    os::capability,
};

/// What the programs need: bpf_redirect_neigh().
const REMEDY: &str =
    "use Linux 5.10 or later with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT and BPF's JIT, or another dataplane";

/// By family: IPv4, IPv6.
const FORWARDING: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

/// After the agent and the kernel were asked what is in use.
pub(super) fn look(host: &Host, facts: &mut Facts) {
    facts.missing_for_packets = capability::missing_for_packets();
    let is_used = uses_packets(facts);
    facts.packet_programs = programs(facts, is_used);
    let Some(config) = facts.config().filter(|_| is_used) else { return };
    let backends: BTreeSet<SocketAddr> =
        config.services.iter().flat_map(|service| facts.backends_of(service)).collect();
    let families = config.services.iter().map(|service| service.vip.is_ipv6()).collect::<BTreeSet<_>>();
    match dataplane::survey_packets(config, &backends) {
        Ok(mut found) => {
            let names = families.into_iter().map(|is_v6| FORWARDING[usize::from(is_v6)]);
            found.not_forwarding = names.filter(|name| is_off(host, name)).map(str::to_owned).collect();
            facts.packet = Some(found);
        }
        Err(error) => gap(facts, Code::PacketInterfaces, "look at interfaces and routes", error),
    }
}

/// Who may load programs and cannot has another kernel than they need. Why they could not be tried is told only where they
/// matter.
fn programs(facts: &mut Facts, is_used: bool) -> Option<Result<(), Lack>> {
    let is_allowed = facts.missing_for_packets.is_empty()
        && facts.missing_capabilities.as_ref().is_some_and(Vec::is_empty);
    match dataplane::try_packet_programs() {
        Ok(()) => Some(Ok(())),
        Err(error @ DataplaneError::Failed { .. }) if is_allowed => {
            Some(Err(Lack { what: first_lines(&error), remedy: REMEDY.to_owned() }))
        }
        Err(error) => {
            if is_used {
                gap(facts, Code::PacketKernel, "try the kernel programs", error);
            }
            None
        }
    }
}

/// `net.ipv4.ip_forward`, sysctl(8).
fn is_off(host: &Host, name: &str) -> bool {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    host.read(path).ok().flatten().is_some_and(|text| text.trim() == "0")
}
