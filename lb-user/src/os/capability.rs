//! What this process may do, capabilities(7).

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

use crate::dataplane::DataplaneError;

/// What the socket dataplane needs. Before Linux 5.8 there was no CAP_BPF; CAP_SYS_ADMIN includes it everywhere.
const NEEDED: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN")];

/// Fails with the first capability that is missing.
pub fn require(operation: &str) -> Result<(), DataplaneError> {
    let missing = missing().map_err(DataplaneError::failed("read", "this process's capabilities"))?;
    match missing.first() {
        None => Ok(()),
        Some(capability) => Err(DataplaneError::Permission { operation: operation.to_owned(), capability }),
    }
}

/// Every capability that is missing.
pub fn missing() -> io::Result<Vec<&'static str>> {
    let held = capabilities(None)?.effective;
    let is_missing = |set: CapabilitySet| {
        let implied = set == CapabilitySet::BPF && held.contains(CapabilitySet::SYS_ADMIN);
        !held.contains(set) && !implied
    };
    Ok(NEEDED.into_iter().filter(|(set, _)| is_missing(*set)).map(|(_, name)| name).collect())
}

/// Every one that is missing of those that only the packet dataplane needs. Before Linux 5.8 there was no CAP_PERFMON, and
/// CAP_SYS_ADMIN includes it everywhere.
pub fn missing_for_packets() -> Vec<&'static str> {
    let perfmon = has(CapabilitySet::PERFMON) || has(CapabilitySet::SYS_ADMIN);
    let needed = [(perfmon, "CAP_PERFMON"), (has(CapabilitySet::NET_RAW), "CAP_NET_RAW")];
    needed.into_iter().filter(|(held, _)| !held).map(|(_, name)| name).collect()
}

/// Whether this process holds a capability. Where that cannot be read it is taken to be so: the kernel decides.
pub fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(capability)) || capabilities(None).is_err()
}
