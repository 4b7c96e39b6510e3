//! Whether a connect to a VIP is steered: doctor makes one itself, and asks the kernel whom the socket really talks to.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use lb_core::doctor::{AgentFact, Code, Facts, IpvsFacts, SelfConnect};

use super::{Places, gap, known};
use crate::{dataplane, dataplane::ipvs, os::sockdiag::SockDiag};

/// The longest that one connect may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// The longest that all of them may take. Where more than a few fail, the next ones tell nothing new.
const DEADLINE_FOR_ALL: Duration = Duration::from_secs(6);

pub(super) fn look(places: &Places, facts: &mut Facts) {
    let vips: BTreeSet<SocketAddr> =
        facts.config().into_iter().flat_map(|config| config.services.iter().map(|s| s.vip)).collect();
    let services = known(facts, Code::IpvsForeign, "list the IPVS services", ipvs::survey(&vips)).flatten();
    facts.ipvs = services.map(|(services, foreign)| IpvsFacts { services, foreign });
    let held = match dataplane::peek(&places.bpffs, &places.state_dir) {
        Ok(held) => held.unwrap_or_default(),
        Err(error) => return gap(facts, Code::HookEffect, "read what is programmed", error),
    };
    let runs = match &facts.agent {
        Some(AgentFact::Running { dataplanes, .. }) => Some(*dataplanes),
        Some(AgentFact::NotRunning) | None => None,
    };
    facts.held = runs.or_else(|| held.services.values().next().map(|(dataplanes, _)| *dataplanes));
    let began = Instant::now();
    for vip in vips.into_iter().filter(|vip| held.services.contains_key(vip)) {
        if began.elapsed() > DEADLINE_FOR_ALL {
            let why = anyhow::anyhow!("earlier ones took more than {} s", DEADLINE_FOR_ALL.as_secs());
            return gap(facts, Code::HookEffect, format!("connect to {vip}"), why);
        }
        let peer = connect(vip).map_err(|error| error.to_string());
        facts.connects.push(SelfConnect { vip, peer });
    }
}

/// Whom the kernel says that a connection to the VIP goes to. getpeername(2) shows the VIP, as it should.
fn connect(vip: SocketAddr) -> io::Result<SocketAddr> {
    let stream = TcpStream::connect_timeout(&vip, DEADLINE)?;
    let own = stream.local_addr()?;
    let sockets = SockDiag::open()?.connected(|socket| socket.own == own)?;
    Ok(sockets.first().map_or(vip, |socket| socket.peer))
}
