//! Which IPVS services there are, for who does not run the dataplane.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{claims, error::failed, kernel::genl::Ipvs, observe};
use crate::dataplane::DataplaneError;

/// How many services there are, and of those at `vips` that are not ours the destinations.
pub type Survey = (usize, BTreeMap<SocketAddr, Vec<SocketAddr>>);

/// Looks at the services of this network namespace without changing anything; `None`: IPVS is not loaded.
///
/// # Errors
/// When the kernel does not say: CAP_NET_ADMIN is needed.
pub fn survey(vips: &BTreeSet<SocketAddr>) -> Result<Option<Survey>, DataplaneError> {
    if !observe::is_loaded() {
        return Ok(None);
    }
    let Some(mut ipvs) = Ipvs::open().map_err(failed("ask the kernel for", "IPVS"))? else { return Ok(None) };
    let services = ipvs.services().map_err(failed("list", "IPVS services"))?;
    let ours = claims(&mut ipvs)?;
    let mut foreign = BTreeMap::new();
    for vip in services.iter().map(|service| service.vip) {
        if vips.contains(&vip) && !ours.contains(&vip) {
            let destinations =
                ipvs.destinations(vip).map_err(failed("read the service at", vip.to_string()))?;
            foreign.insert(vip, destinations.into_iter().map(|entry| entry.address).collect());
        }
    }
    Ok(Some((services.len(), foreign)))
}
