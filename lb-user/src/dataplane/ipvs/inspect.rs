//! What a look at the running dataplane says to people.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    Change, IpvsDataplane,
    change::diff,
    kernel::{lvscare, sysctl},
    native::{self, IpvsState},
};
use crate::dataplane::{Dataplane as _, DataplaneError, Inspection, evict::CANNOT_END_SOCKETS};

/// How often lvscare's chains are looked for: that reads the names of all chains of the node.
const LOOK: Duration = Duration::from_secs(60);

/// lvscare's chains, as they were last seen.
#[derive(Debug, Default)]
pub struct Chains {
    looked: Option<Instant>,
    found: Vec<String>,
}

impl Chains {
    fn look(&mut self) -> &[String] {
        if self.looked.is_none_or(|looked| looked.elapsed() > LOOK) {
            self.looked = Some(Instant::now());
            self.found = lvscare::foreign_chains().unwrap_or_else(|error| {
                tracing::debug!(%error, "failed to look for lvscare's chains");
                Vec::new()
            });
        }
        &self.found
    }
}

/// Looks at what the kernel holds now.
pub fn inspect(plane: &mut IpvsDataplane) -> Result<Inspection, DataplaneError> {
    let desired = plane.desired.clone();
    let observed = plane.observe(&desired)?;
    let wanted = native::lower(&desired, plane.options.scope, plane.intake);
    let timeout = plane.ipvs.idle_timeout().map_err(super::failed("read", "IPVS's timeouts"))?;
    let mut facts = facts(&observed, plane);
    facts.extend(timeout.map(|s| ("forgets idle connections".to_owned(), format!("after {s} s"))));
    Ok(Inspection {
        ineffective: ineffective(&diff(&observed, &wanted)),
        warnings: warnings(&observed, plane),
        facts,
    })
}

/// What is still to be done keeps connects from passing, unless it is about settings or about what goes.
fn ineffective(pending: &[Change]) -> Option<String> {
    let matters = |change: &&Change| match change {
        Change::Refuse(..)
        | Change::SetTable(_)
        | Change::AddService(..)
        | Change::SetScheduling(..)
        | Change::AddDestination(..)
        | Change::SetDestination(..)
        | Change::RemoveDestination(..)
        | Change::SetRoute(..) => true,
        Change::TakeOver(..)
        | Change::RemoveService(_)
        | Change::RemoveRoute(_)
        | Change::RemoveTable
        | Change::SetSysctl(..) => false,
    };
    let pending: Vec<_> = pending.iter().filter(matters).map(ToString::to_string).collect();
    (!pending.is_empty()).then(|| format!("still to be done: {}", pending.join("; ")))
}

fn facts(observed: &IpvsState, plane: &IpvsDataplane) -> Vec<(String, String)> {
    let schedulers: Vec<_> =
        observed.services.iter().map(|(vip, service)| format!("{vip} {}", service.scheduling)).collect();
    let route = |(ip, source): (&IpAddr, &Option<IpAddr>)| match source {
        Some(source) => format!("{ip} from {source}"),
        None => ip.to_string(),
    };
    let routes: Vec<_> = observed.routes.iter().map(route).collect();
    let table = match &observed.table {
        Some(table) => format!("lbctl, scope {}", table.scope),
        None => "none".to_owned(),
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let mut facts = vec![
        ("schedulers".to_owned(), schedulers.join(", ")),
        ("routes".to_owned(), routes.join(", ")),
        ("nftables table".to_owned(), table),
        ("ends sockets".to_owned(), yes_no(plane.can_end_sockets).to_owned()),
    ];
    facts.extend(observed.sysctls.iter().map(|(sysctl, value)| (sysctl.to_string(), value.to_string())));
    facts
}

fn warnings(observed: &IpvsState, plane: &mut IpvsDataplane) -> Vec<String> {
    let mut warnings = plane.losses.warnings();
    if !plane.can_end_sockets {
        warnings
            .push(format!("{CANNOT_END_SOCKETS}: connections to a dead backend end at their next packet"));
    }
    for (sysctl, value) in sysctl::wanted(plane.options.scope) {
        match observed.sysctls.get(&sysctl) {
            Some(held) if *held == value => {}
            Some(held) => warnings.push(format!("{sysctl} is {held}, not {value}")),
            None => warnings.push(format!("this kernel has no {sysctl}, which should be {value}")),
        }
    }
    let chains = plane.chains.look();
    if !chains.is_empty() {
        let what = "lvscare has left chains, which do no harm but are of no use any more";
        warnings.push(format!("{what}: {}", chains.join(", ")));
    }
    warnings
}
