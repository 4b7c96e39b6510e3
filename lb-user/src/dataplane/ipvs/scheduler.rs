//! The kernel's schedulers: how IPVS chooses a destination for a new connection.

use std::fmt;

use lb_core::model::Policy;

/// IP_VS_SVC_F_SCHED_MH_FALLBACK, include/uapi/linux/ip_vs.h: a client whose destination takes nobody gets another one.
const MH_FALLBACK: u32 = 0x8;

/// A service's scheduler, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// Its name: that of its module without the leading `ip_vs_`.
    pub name: String,
    /// The service's flags, IP_VS_SVC_F_* of include/uapi/linux/ip_vs.h, without the one that only says that the kernel
    /// has hashed it.
    pub flags: u32,
}

impl Scheduling {
    /// The scheduler that does what a policy says.
    ///
    /// - random and round-robin: `wrr`, because `rr` and `random` schedulers either ignore weights or do not exist.
    ///   Every node adds its destinations in an order of its own, so that the first connections of many nodes do not
    ///   meet at one backend.
    /// - least-conn: `wlc`, which weighs connections by weight.
    /// - sticky: `mh`, a consistent hash of the client's address. When a backend goes, only its clients move.
    pub fn of(policy: Policy) -> Self {
        let (name, flags) = match policy {
            Policy::Random | Policy::RoundRobin => ("wrr", 0),
            Policy::LeastConn => ("wlc", 0),
            Policy::Sticky => ("mh", MH_FALLBACK),
        };
        Self { name: name.to_owned(), flags }
    }

    /// The policy that this scheduler comes closest to. What the kernel does not remember is whether round-robin was
    /// meant to be random.
    pub fn policy(&self) -> Policy {
        match self.name.as_str() {
            "rr" | "wrr" => Policy::RoundRobin,
            "lc" | "wlc" | "sed" | "nq" => Policy::LeastConn,
            "sh" | "dh" | "mh" | "lblc" | "lblcr" => Policy::Sticky,
            _ => Policy::Random,
        }
    }

    /// The kernel module that holds it.
    pub fn module(&self) -> String {
        format!("ip_vs_{}", self.name)
    }

    /// A policy that needs another module.
    pub fn alternative(&self) -> Policy {
        match self.policy() {
            Policy::Random | Policy::RoundRobin => Policy::LeastConn,
            Policy::LeastConn | Policy::Sticky => Policy::Random,
        }
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_recognised_in_its_scheduler() {
        for policy in [Policy::RoundRobin, Policy::LeastConn, Policy::Sticky] {
            assert_eq!(Scheduling::of(policy).policy(), policy);
        }
        assert_eq!(Scheduling::of(Policy::Random).policy(), Policy::RoundRobin, "one scheduler does both");
    }

    #[test]
    fn the_alternative_to_a_missing_scheduler_needs_another_module() {
        for policy in [Policy::Random, Policy::RoundRobin, Policy::LeastConn, Policy::Sticky] {
            let missing = Scheduling::of(policy);
            assert_ne!(Scheduling::of(missing.alternative()).module(), missing.module());
        }
    }
}
