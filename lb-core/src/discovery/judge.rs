use std::{collections::BTreeSet, net::SocketAddr};

use crate::{config::ServiceConfig, model::MAX_BACKENDS};

/// What of a list belongs to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Its apiservers. Empty: the list says nothing, and what was known before holds.
    pub addresses: BTreeSet<SocketAddr>,
    /// What was left out, and why; for people.
    pub ignored: Option<String>,
}

/// Leaves out what cannot be a backend of the service: another family of addresses, a VIP, addresses that no host has, and
/// more than a service can have. Those that were known before stay before others do.
pub fn judge(
    service: &ServiceConfig,
    vips: &BTreeSet<SocketAddr>,
    known: &BTreeSet<SocketAddr>,
    listed: &BTreeSet<SocketAddr>,
) -> Judged {
    if listed.is_empty() {
        let ignored = Some("the cluster's list of apiservers is empty; it is ignored".to_owned());
        return Judged { addresses: BTreeSet::new(), ignored };
    }
    let fits = |address: &SocketAddr| {
        let ip = address.ip();
        let is_host = !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback());
        is_host && address.is_ipv4() == service.vip.is_ipv4() && !vips.contains(address)
    };
    let fitting: BTreeSet<_> = listed.iter().copied().filter(fits).collect();
    let seeds: BTreeSet<_> = service.backends.iter().map(|backend| backend.address).collect();
    let room = MAX_BACKENDS.saturating_sub(seeds.len());
    let (old, new): (Vec<_>, Vec<_>) =
        fitting.iter().filter(|a| !seeds.contains(a)).partition(|a| known.contains(a));
    let taken: BTreeSet<_> = old.into_iter().chain(new).take(room).copied().collect();
    let addresses: BTreeSet<_> = fitting.intersection(&seeds).copied().chain(taken).collect();
    let misfits = listed.len() - fitting.len();
    let surplus = fitting.len() - addresses.len();
    let ignored = match (misfits, surplus) {
        (0, 0) => None,
        (misfits, 0) => {
            Some(format!("{misfits} of {} listed apiservers cannot serve {}", listed.len(), service.vip))
        }
        (_, surplus) => Some(format!(
            "{surplus} listed apiservers are too many: a service has {MAX_BACKENDS} backends at most"
        )),
    };
    Judged { addresses, ignored }
}
