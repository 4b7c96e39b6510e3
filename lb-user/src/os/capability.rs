//! What this process may do, capabilities(7).

use rustix::thread::{CapabilitySet, capabilities};

use crate::dataplane::DataplaneError;

/// What the socket dataplane needs. Before Linux 5.8 there was no CAP_BPF; CAP_SYS_ADMIN includes it everywhere.
const NEEDED: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN")];

/// Fails with the first capability that is missing.
pub fn require(operation: &str) -> Result<(), DataplaneError> {
    let held = capabilities(None)
        .map_err(std::io::Error::from)
        .map_err(DataplaneError::failed("read", "this process's capabilities"))?
        .effective;
    let missing = NEEDED.into_iter().find(|(set, _)| {
        let implied = *set == CapabilitySet::BPF && held.contains(CapabilitySet::SYS_ADMIN);
        !held.contains(*set) && !implied
    });
    match missing {
        None => Ok(()),
        Some((_, capability)) => {
            Err(DataplaneError::Permission { operation: operation.to_owned(), capability })
        }
    }
}
