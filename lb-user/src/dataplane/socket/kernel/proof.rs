//! Proof that the hooks are effective: a connect to an address that only our programs know. They record it, with the
//! network namespace it came from, and refuse it; no packet is sent.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lb_common::{Endpoint, socket::PROOF_SLOT};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use super::maps::SocketMaps;
use crate::{
    dataplane::{
        DataplaneError,
        services::{Maps as _, encode, kernel::ServiceMaps},
    },
    os::{cgroup::contains_us, process::wait_deadline},
};

/// What a proof showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// IPv4 connects pass through our program.
    pub connect4: bool,
    /// IPv6 connects do, v4-mapped ones included.
    pub connect6: bool,
    /// The cookie of our network namespace; only meaningful when one of the above holds.
    pub netns_cookie: u64,
    /// This process lives in the cgroup or below it, and dialled itself.
    pub from_here: bool,
}

/// The longest that the helper process may take: it makes two system calls.
const HELPER_DEADLINE: Duration = Duration::from_secs(5);

/// Dials the proof address, from this process if it lives below `cgroup`, else from a child that moves there.
pub fn prove(maps: &mut ServiceMaps, own: &SocketMaps, cgroup: &Path) -> Result<Proof, DataplaneError> {
    let from_here = contains_us(cgroup);
    prove_by(maps, own, from_here, |address| match from_here {
        true => {
            answer_proof(address);
            Ok(())
        }
        false => dial_from_child(address, cgroup),
    })
}

/// Dials the proof address from this process, where an earlier proof showed that it lives below the cgroup: to look
/// that up means to read the table of mounts, which is long on a node.
pub fn prove_again(maps: &mut ServiceMaps, own: &SocketMaps) -> Result<Proof, DataplaneError> {
    prove_by(maps, own, true, |address| {
        answer_proof(address);
        Ok(())
    })
}

fn prove_by(
    maps: &mut ServiceMaps,
    own: &SocketMaps,
    from_here: bool,
    dial: impl FnOnce(SocketAddr) -> Result<(), DataplaneError>,
) -> Result<Proof, DataplaneError> {
    let address = proof_address();
    let key = encode::endpoint(address);
    let before = own.settings();
    maps.insert_vip(key, PROOF_SLOT)?;
    let dialled = dial(address);
    let after = own.settings();
    remove_proof(maps, key)?;
    dialled?;
    Ok(Proof {
        connect4: after.proofs4 > before.proofs4,
        connect6: after.proofs6 > before.proofs6,
        netns_cookie: after.proof_cookie,
        from_here,
    })
}

/// Leftovers of an agent that was killed in the middle of a proof go too: the table has room for one.
fn remove_proof(maps: &mut ServiceMaps, key: Endpoint) -> Result<(), DataplaneError> {
    let stale = maps.vips()?.into_iter().filter(|(vip, slot)| *slot == PROOF_SLOT && *vip != key);
    for (vip, _) in stale.collect::<Vec<_>>() {
        maps.remove_vip(vip)?;
    }
    maps.remove_vip(key)
}

/// A random address of the loopback network, RFC 1122: were the hooks not effective, the connect would be refused on
/// this machine.
fn proof_address() -> SocketAddr {
    let host = fastrand::u32(0x0080_0000..0x00ff_fffe);
    let ip = Ipv4Addr::from_bits(0x7f00_0000 | host);
    SocketAddr::from((ip, fastrand::u16(1024..)))
}

/// Dials an address through both hooks. It is expected to fail.
pub fn answer_proof(address: SocketAddr) {
    let IpAddrPair { v4, v6 } = IpAddrPair::new(address);
    for (family, target) in [(AddressFamily::INET, v4), (AddressFamily::INET6, v6)] {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without IPv6 in the kernel there is no such socket, and nothing to prove for it.
        if let Ok(socket) = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)) {
            let refused = connect(&socket, &target);
            tracing::trace!(?refused, %target, "dialled the proof address");
        }
    }
}

struct IpAddrPair {
    v4: SocketAddr,
    v6: SocketAddr,
}

impl IpAddrPair {
    fn new(address: SocketAddr) -> Self {
        let v6 = match address.ip() {
            std::net::IpAddr::V4(v4) => SocketAddr::from((v4.to_ipv6_mapped(), address.port())),
            std::net::IpAddr::V6(_) => address,
        };
        Self { v4: address, v6 }
    }
}

fn dial_from_child(address: SocketAddr, cgroup: &Path) -> Result<(), DataplaneError> {
    let object = || format!("cgroup {}", cgroup.display());
    let program = fs::read_link("/proc/self/exe").map_err(DataplaneError::failed("find", "this program"))?;
    let mut child = Command::new(program)
        .args(["internal-prove", &address.to_string()])
        .arg(cgroup)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(DataplaneError::failed("start a process in", object()))?;
    let status = wait_deadline(&mut child, HELPER_DEADLINE)
        .map_err(DataplaneError::failed("wait for a process in", object()))?;
    if status.success() {
        return Ok(());
    }
    Err(DataplaneError::failed("move a process into", object())(format!("it ended with {status}")))
}
