//! Taking away everything that was made here.

use std::{io, path::Path};

use super::{
    error::{failed, nft_failed},
    kernel::{genl::Ipvs, nft, route, sysctl},
    observe,
};
use crate::dataplane::DataplaneError;

/// Removes everything that any agent ever made in this network namespace, and nothing else. Says what was removed. The
/// marks go after what they mark, so that where it fails half-way the next attempt knows what is left.
pub fn remove(state_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    let mut removed = Vec::new();
    let routes = route::observe().map_err(failed("list", "the routes to the VIPs"))?;
    // Where there was never any IPVS, nothing is loaded only to be asked.
    if observe::is_loaded() || !routes.is_empty() {
        let marks = match nft::owned() {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Default::default(),
            marks => marks.map_err(nft_failed("read the sets of"))?,
        };
        if observe::is_loaded()
            && let Some(mut ipvs) = Ipvs::open().map_err(failed("ask the kernel for", "IPVS"))?
        {
            for vip in observe::claims(&mut ipvs, &marks, &routes)? {
                remove_service(&mut ipvs, vip, &mut removed)?;
            }
        }
        match nft::remove() {
            Ok(true) => removed.push("the nftables table lbctl".to_owned()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(nft_failed("remove")(error)),
        }
    }
    for ip in routes.keys() {
        route::remove(*ip).map_err(failed("remove the route to", ip.to_string()))?;
        removed.push(format!("the route to {ip}"));
    }
    removed.extend(sysctl::restore(state_dir).map_err(failed("restore", "net.ipv4.vs"))?);
    Ok(removed)
}

fn remove_service(
    ipvs: &mut Ipvs,
    vip: std::net::SocketAddr,
    removed: &mut Vec<String>,
) -> Result<(), DataplaneError> {
    let failure = || failed("remove the service at", vip.to_string());
    if ipvs.service(vip).map_err(failure())?.is_some() {
        ipvs.remove_service(vip).map_err(failure())?;
        removed.push(format!("the IPVS service at {vip}"));
    }
    Ok(())
}
