//! Who else hangs where we do.

use std::{collections::BTreeSet, io, os::fd::AsFd as _};

use rustix::io::Errno;

use super::{
    filter::{self, Filter},
    qdisc::Qdisc,
    tcx::hook,
};
use crate::{
    dataplane::tc::place::{Foreign, Place, Title},
    os::{
        bpf::{self, tcx},
        netlink::{is, rtnl::Rtnl},
    },
};

/// Others' programs and filters at a place, in the order in which they run: TCX programs first, then filters. `own` are the
/// ids of our programs. Where none of ours is found, all run before it: it is not there.
pub(super) fn at(
    rtnl: &mut Rtnl,
    place: Place,
    qdisc: Option<Qdisc>,
    own: &BTreeSet<u32>,
) -> io::Result<Vec<Foreign>> {
    let programs = match tcx::query(place.interface, hook(place.direction)) {
        Ok(programs) => programs,
        // A kernel without TCX; an interface that has gone.
        Err(e) if is(&e, Errno::INVAL) || is(&e, Errno::NODEV) => Vec::new(),
        Err(e) => return Err(e),
    };
    let programs = programs.into_iter().map(|attached| match attached.program {
        id if own.contains(&id) => None,
        id => Some(Title::Tcx { id, name: name(id) }),
    });
    let filters = filter::list(rtnl, place, qdisc)?.into_iter().filter(Filter::is_one);
    let filters = filters.map(|filter| match filter {
        filter if filter.is_ours() => None,
        Filter { kind, priority, name, .. } => Some(Title::Filter { kind, priority, name }),
    });
    Ok(in_order(place, programs.chain(filters)))
}

/// `None` is ours.
fn in_order(place: Place, all: impl Iterator<Item = Option<Title>>) -> Vec<Foreign> {
    let mut before = true;
    let mut found = Vec::new();
    for title in all {
        match title {
            None => before = false,
            Some(title) => found.push(Foreign { place, title, before }),
        }
    }
    found
}

fn name(id: u32) -> Option<String> {
    let program = bpf::program_by_id(id).ok()?;
    bpf::program_info(program.as_fd()).ok().map(|info| info.name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::tc::place::Direction;

    #[test]
    fn what_comes_before_the_first_of_ours_is_before() {
        let place = Place { interface: 1, direction: Direction::In };
        let title = |id| Title::Tcx { id, name: None };
        let found = in_order(place, [Some(title(1)), None, Some(title(2)), None, Some(title(3))].into_iter());
        let before: Vec<_> = found.iter().map(|foreign| foreign.before).collect();
        assert_eq!(before, [true, false, false]);
        assert!(in_order(place, [Some(title(1))].into_iter()).iter().all(|foreign| foreign.before));
    }
}
