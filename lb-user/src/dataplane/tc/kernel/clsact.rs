//! Programs by filters of the qdisc clsact. They belong to the interface, outlive the agent, and go with the interface.

use std::{collections::BTreeMap, fs, io, os::fd::AsFd as _, path::PathBuf};

use rustix::io::Errno;

use super::{
    Program,
    filter::{self, Filter},
    qdisc::{self, Qdisc},
    tcx::entries,
};
use crate::{
    dataplane::tc::{
        diff::Hung,
        place::{Direction, Owner, Place},
    },
    os::netlink::{is, rtnl::Rtnl},
};

/// The filters of one owner.
pub(super) struct Filters {
    /// A directory in which another one, called by the interface's number, says that its qdisc is ours. There is no place in a
    /// qdisc for that.
    pub(super) made: PathBuf,
    pub(super) owner: Owner,
}

impl Filters {
    /// What runs. Nothing, where only a qdisc of ours is left, or what says that it is.
    pub(super) fn observe(&self) -> io::Result<BTreeMap<Place, Hung>> {
        let mut rtnl = Rtnl::open()?;
        let mut observed = BTreeMap::new();
        let mut in_use = Vec::new();
        for (interface, qdisc) in qdisc::list(&mut rtnl)? {
            for place in both(interface) {
                let filters = filter::list(&mut rtnl, place, Some(qdisc))?;
                if filters.iter().any(Filter::is_ours) {
                    in_use.push(interface);
                }
                let own = filters.iter().find(|filter| filter.is_of(self.owner));
                observed.extend(own.map(|own| (place, Hung::Program(own.program.unwrap_or_default()))));
            }
        }
        let left = self.marked()?.into_iter().filter(|interface| !in_use.contains(interface));
        observed.extend(left.map(|interface| (Place { interface, direction: Direction::In }, Hung::Nothing)));
        Ok(observed)
    }

    /// Attaches a program, before all other filters if their kind allows, or puts it into the place of what is there. Whether the
    /// interface is there.
    pub(super) fn attach(&self, place: Place, program: &Program) -> io::Result<bool> {
        let mut rtnl = Rtnl::open()?;
        let attached =
            self.ensure_qdisc(&mut rtnl, place).and_then(|qdisc| self.put(&mut rtnl, place, qdisc, program));
        match attached {
            Ok(()) => Ok(true),
            Err(e) if is(&e, Errno::NODEV) => Ok(false),
            // So an unknown kind of qdisc or filter shows (net/sched/sch_api.c, cls_api.c).
            Err(e) if is(&e, Errno::NOENT) => Err(io::ErrorKind::Unsupported.into()),
            Err(e) => Err(e),
        }
    }

    /// Removes the filter, and then the qdisc, if it is ours and no filter hangs on it any more.
    pub(super) fn detach(&self, place: Place) -> io::Result<()> {
        let mut rtnl = Rtnl::open()?;
        let qdisc = qdisc::list(&mut rtnl)?.get(&place.interface).copied();
        let filters = filter::list(&mut rtnl, place, qdisc)?;
        for own in filters.iter().filter(|filter| filter.is_of(self.owner)) {
            filter::remove(&mut rtnl, place, self.owner, own.priority)?;
        }
        self.release_qdisc(&mut rtnl, place.interface, qdisc)
    }

    fn put(&self, rtnl: &mut Rtnl, place: Place, qdisc: Qdisc, program: &Program) -> io::Result<()> {
        let filters = filter::list(rtnl, place, Some(qdisc))?;
        match filters.iter().find(|filter| filter.is_of(self.owner)) {
            Some(own) => filter::replace(rtnl, place, self.owner, own.priority, program.as_fd()),
            None => filter::add(rtnl, place, self.owner, filter::priority(&filters), program.as_fd()),
        }
    }

    /// The qdisc that is there, or a new one.
    fn ensure_qdisc(&self, rtnl: &mut Rtnl, place: Place) -> io::Result<Qdisc> {
        match qdisc::list(rtnl)?.get(&place.interface) {
            Some(qdisc) if qdisc.takes(place.direction) => return Ok(*qdisc),
            Some(_) => {
                return Err(io::Error::other(
                    "somebody's ingress qdisc takes the place of clsact (hint: tc qdisc del dev NAME ingress, or leave \
                     the interface out)",
                ));
            }
            None => qdisc::add(rtnl, place.interface)?,
        }
        match fs::create_dir(self.mark(place.interface)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            Ok(()) | Err(_) => Ok(Qdisc::Clsact),
        }
    }

    fn release_qdisc(&self, rtnl: &mut Rtnl, interface: u32, qdisc: Option<Qdisc>) -> io::Result<()> {
        if !self.mark(interface).exists() {
            return Ok(());
        }
        let mut filters = Vec::new();
        for place in both(interface) {
            filters.extend(filter::list(rtnl, place, qdisc)?);
        }
        if filters.iter().any(Filter::is_ours) {
            return Ok(());
        }
        // Somebody else's filter makes it theirs.
        if filters.is_empty() {
            qdisc::remove(rtnl, interface)?;
        }
        match fs::remove_dir(self.mark(interface)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The interfaces whose qdisc is ours.
    fn marked(&self) -> io::Result<Vec<u32>> {
        Ok(entries(&self.made)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn mark(&self, interface: u32) -> PathBuf {
        self.made.join(interface.to_string())
    }
}

fn both(interface: u32) -> [Place; 2] {
    Direction::ALL.map(|direction| Place { interface, direction })
}
