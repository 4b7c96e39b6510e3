//! What goes wrong between this dataplane and the kernel, in words that help.

use std::{error::Error, fmt, io, net::SocketAddr};

use rustix::io::Errno;

use super::{kernel::route::RouteError, native::Service, scheduler::Scheduling};
use crate::dataplane::DataplaneError;

/// What every call needs.
const CAPABILITY: &str = "CAP_NET_ADMIN";

/// What passes by itself.
const BUSY: &str =
    "another program keeps IPVS busy, or the kernel is short of memory: it is tried again by itself";

/// A cause, and what to do about it.
#[derive(Debug)]
struct Hinted {
    source: io::Error,
    hint: &'static str,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; hint: {}", self.source, self.hint)
    }
}

impl Error for Hinted {}

/// Why a VIP is left alone.
#[derive(Debug, thiserror::Error)]
#[error(
    "it belongs to another program's IPVS service ({0}); hint: remove that service (ipvsadm -D -t VIP), or choose \
     another VIP"
)]
struct Foreign(Service);

/// For `map_err`: names the operation and the object, a missing capability, and what to do where that is known.
pub fn failed(
    operation: &'static str,
    object: impl Into<String>,
) -> impl FnOnce(io::Error) -> DataplaneError {
    let object = object.into();
    move |source| match hint(&source) {
        Some(hint) => DataplaneError::failed(operation, object)(Hinted { source, hint }),
        None => DataplaneError::denied(operation, object, CAPABILITY)(source),
    }
}

fn hint(error: &io::Error) -> Option<&'static str> {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if error.kind() == io::ErrorKind::TimedOut || is(Errno::BUSY) || is(Errno::NOBUFS) {
        return Some(BUSY);
    }
    let read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
    read_only.then_some("mount /proc/sys writable, or set it on the node beforehand")
}

/// As [`failed`]; a kernel without nf_tables is named.
pub fn nft_failed(operation: &'static str) -> impl FnOnce(io::Error) -> DataplaneError {
    move |source| match source.kind() {
        io::ErrorKind::Unsupported => DataplaneError::Missing {
            what: "the kernel has no nf_tables, in which the ipvs dataplane marks its services".to_owned(),
            remedy: "load it (modprobe nf_tables), or set dataplane to auto".to_owned(),
        },
        _ => failed(operation, "the nftables table lbctl")(source),
    }
}

/// For routes.
pub fn route_failed(vip: SocketAddr) -> impl FnOnce(RouteError) -> DataplaneError {
    move |error| match error {
        RouteError::Ipv6Disabled { .. } => no_ipv6(vip),
        RouteError::Io { source, .. } => failed("make the route to", vip.ip().to_string())(source),
    }
}

/// For making a service, or giving it another scheduler.
pub fn service_failed(
    operation: &'static str,
    vip: SocketAddr,
    scheduling: &Scheduling,
) -> impl FnOnce(io::Error) -> DataplaneError {
    let (module, alternative) = (scheduling.module(), scheduling.alternative());
    move |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => DataplaneError::Missing {
            what: format!("the kernel has no module {module}, which the policy of {vip} needs"),
            remedy: format!("load it (modprobe {module}), or set policy to {alternative}"),
        },
        Some(Errno::AFNOSUPPORT) => no_ipv6(vip),
        Some(_) | None => failed(operation, vip.to_string())(source),
    }
}

fn no_ipv6(vip: SocketAddr) -> DataplaneError {
    DataplaneError::Missing {
        what: format!("IPv6 is disabled on this node, and {vip} needs it"),
        remedy:
            "set net.ipv6.conf.all.disable_ipv6 and net.ipv6.conf.lo.disable_ipv6 to 0, or use an IPv4 VIP"
                .to_owned(),
    }
}

/// Another program's service is at our VIP.
pub fn foreign(vip: SocketAddr, service: &Service) -> DataplaneError {
    DataplaneError::failed("serve", vip.to_string())(Foreign(service.clone()))
}

/// The kernel has no IPVS and cannot load it.
pub fn no_ipvs() -> DataplaneError {
    DataplaneError::Missing {
        what: "the kernel has no IPVS".to_owned(),
        remedy: "load it (modprobe ip_vs), or set dataplane to auto".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use lb_core::model::Policy;

    use super::*;

    fn vip() -> SocketAddr {
        "[fd00::2]:6443".parse().unwrap()
    }

    #[test]
    fn a_missing_scheduler_names_its_module_and_a_policy_that_needs_another() {
        let sticky = Scheduling::of(Policy::Sticky);
        let error = service_failed("add the service at", vip(), &sticky)(Errno::NOENT.into());
        assert!(matches!(error, DataplaneError::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("modprobe ip_vs_mh") && text.contains("set policy to random"), "{text}");
    }

    #[test]
    fn a_missing_permission_names_the_capability() {
        let error = failed("list", "IPVS services")(Errno::PERM.into());
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }

    #[test]
    fn what_passes_is_said_to_pass() {
        for source in [Errno::BUSY.into(), Errno::NOBUFS.into(), io::ErrorKind::TimedOut.into()] {
            let error = failed("list", "IPVS services")(source);
            assert!(error.source().unwrap().to_string().contains("tried again"), "{error:?}");
        }
    }

    #[test]
    fn an_ipv6_vip_without_ipv6_names_the_setting() {
        let error = route_failed(vip())(RouteError::Ipv6Disabled { vip: vip().ip() });
        assert!(matches!(error, DataplaneError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("disable_ipv6"), "{error}");
    }
}
