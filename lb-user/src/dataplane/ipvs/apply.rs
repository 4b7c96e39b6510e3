//! Making one mutation.

use std::net::SocketAddr;

use super::{
    Change, IpvsDataplane,
    error::{failed, foreign, nft_failed, route_failed, service_failed},
    kernel::{lvscare, nft, route, sysctl},
    native::{Destination, Service},
    observe,
};
use crate::dataplane::DataplaneError;

/// Makes one mutation.
pub fn apply(plane: &mut IpvsDataplane, change: &Change) -> Result<(), DataplaneError> {
    match change {
        Change::Refuse(vip, service) => Err(foreign(*vip, service)),
        Change::AddService(vip, service) => add_service(plane, *vip, service),
        Change::SetScheduling(vip, scheduling) => plane
            .ipvs
            .set_service(*vip, scheduling)
            .map_err(service_failed("change the scheduler of", *vip, scheduling)),
        Change::AddDestination(vip, address, destination) => plane
            .ipvs
            .add_destination(*vip, *address, destination.weight)
            .map_err(destination_failed("add the destination", *vip, *address)),
        Change::SetDestination(vip, address, destination) => plane
            .ipvs
            .set_destination(*vip, *address, destination.weight)
            .map_err(destination_failed("change the destination", *vip, *address)),
        Change::RemoveDestination(vip, address) => remove_destination(plane, *vip, *address),
        Change::RemoveService(vip) => remove_service(plane, *vip),
        Change::SetTable(_)
        | Change::SetRoute(..)
        | Change::TakeOver(..)
        | Change::RemoveRoute(_)
        | Change::RemoveTable
        | Change::SetSysctl(..) => apply_around(plane, change),
    }
}

/// Mutations of what surrounds IPVS.
fn apply_around(plane: &mut IpvsDataplane, change: &Change) -> Result<(), DataplaneError> {
    plane.surroundings = None;
    match change {
        Change::SetTable(table) => nft::replace(table).map_err(nft_failed("replace")),
        Change::SetRoute(vip, source) => route::set(vip.ip(), *source).map_err(route_failed(*vip)),
        Change::TakeOver(vip, leftover) => {
            lvscare::take_over(leftover).map_err(failed("take over", leftover.to_string()))?;
            tracing::info!(%vip, %leftover, "took over");
            Ok(())
        }
        Change::RemoveRoute(ip) => route::remove(*ip).map_err(failed("remove the route to", ip.to_string())),
        Change::RemoveTable => nft::remove().map(drop).map_err(nft_failed("remove")),
        Change::SetSysctl(sysctl, value) => {
            let object = format!("{sysctl} to {value}");
            sysctl::set(&plane.options.state_dir, *sysctl, *value).map_err(failed("set", object))
        }
        Change::Refuse(..)
        | Change::AddService(..)
        | Change::SetScheduling(..)
        | Change::AddDestination(..)
        | Change::SetDestination(..)
        | Change::RemoveDestination(..)
        | Change::RemoveService(_) => Ok(()),
    }
}

/// The kernel begins its rounds with the destination that came last. In an order of chance, many nodes that start at
/// once do not all begin with the same backend.
fn add_service(plane: &mut IpvsDataplane, vip: SocketAddr, service: &Service) -> Result<(), DataplaneError> {
    let made = plane.ipvs.add_service(vip, &service.scheduling);
    made.map_err(service_failed("add the service at", vip, &service.scheduling))?;
    plane.claimed.insert(vip);
    plane.losses.present(vip);
    let mut destinations: Vec<_> = service.destinations.iter().collect();
    fastrand::shuffle(&mut destinations);
    for (address, Destination { weight, .. }) in destinations {
        let added = plane.ipvs.add_destination(vip, *address, *weight);
        added.map_err(destination_failed("add the destination", vip, *address))?;
    }
    Ok(())
}

/// First it takes nobody any more, then its connections are written down, then it goes: the kernel forgets its
/// connections with it, and none is made in between.
fn remove_destination(
    plane: &mut IpvsDataplane,
    vip: SocketAddr,
    address: SocketAddr,
) -> Result<(), DataplaneError> {
    let failure = || destination_failed("remove the destination", vip, address);
    plane.ipvs.set_destination(vip, address, 0).map_err(failure())?;
    if let Err(error) = plane.severed.remember((vip, address)) {
        let text = "failed to read IPVS's connections: those to a backend that goes end at their next packet";
        tracing::warn!(%vip, backend = %address, %error, "{text}");
    }
    plane.ipvs.remove_destination(vip, address).map_err(failure())
}

fn remove_service(plane: &mut IpvsDataplane, vip: SocketAddr) -> Result<(), DataplaneError> {
    plane.ipvs.remove_service(vip).map_err(failed("remove the service at", vip.to_string()))?;
    plane.claimed.remove(&vip);
    plane.losses.forget(vip);
    Ok(())
}

/// No destination takes new connections any more.
pub fn close_intake(plane: &mut IpvsDataplane) -> Result<(), DataplaneError> {
    for vip in plane.claimed.clone() {
        let Some(service) = observe::service(&mut plane.ipvs, vip)? else { continue };
        for (address, destination) in service.destinations {
            if destination.weight > 0 {
                let closed = plane.ipvs.set_destination(vip, address, 0);
                closed.map_err(destination_failed("change the destination", vip, address))?;
            }
        }
    }
    plane.surroundings = None;
    let Some(mut table) = nft::observe().map_err(nft_failed("read"))? else { return Ok(()) };
    table.refused = table.vips.clone();
    nft::replace(&table).map_err(nft_failed("replace"))
}

fn destination_failed(
    operation: &'static str,
    vip: SocketAddr,
    address: SocketAddr,
) -> impl FnOnce(std::io::Error) -> DataplaneError {
    failed(operation, format!("{address} of {vip}"))
}
