//! Programs by pinned TCX links.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::Program;
use crate::{
    dataplane::tc::{
        diff::Hung,
        place::{Direction, Place},
    },
    os::{
        bpf::{self, tcx},
        netlink::is,
    },
};

/// The directory of the pinned links.
pub(super) struct Links(pub(super) PathBuf);

pub(super) fn hook(direction: Direction) -> tcx::Hook {
    match direction {
        Direction::In => tcx::Hook::Ingress,
        Direction::Out => tcx::Hook::Egress,
    }
}

/// Whether the kernel has TCX, found out by a link that passes everything on, for a moment.
pub(super) fn works(interface: u32) -> io::Result<bool> {
    let pass = [bpf::instruction(0xb7, 0, 0, 0, -1), bpf::instruction(0x95, 0, 0, 0, 0)];
    let program = bpf::program(bpf::Kind::Classifier, "lbctl_trial", &pass)?;
    match tcx::link_create(program.as_fd(), interface, tcx::Hook::Ingress) {
        Ok(_) => Ok(true),
        // An attach type that it does not know.
        Err(e) if is(&e, Errno::INVAL) => Ok(false),
        // The hook is full.
        Err(e) if is(&e, Errno::RANGE) => Ok(true),
        Err(e) => Err(e),
    }
}

impl Links {
    /// What is pinned, and what runs by it in this network namespace.
    pub(super) fn observe(&self) -> io::Result<BTreeMap<Place, Hung>> {
        self.places()?.into_iter().map(|place| Ok((place, self.hung(place)?))).collect()
    }

    /// Attaches a program, before all others, and pins its link in the place of what may be there, which is let go last. Whether
    /// the interface is there.
    pub(super) fn attach(&self, place: Place, program: &Program) -> io::Result<bool> {
        let predecessor = self.open(place)?;
        let link = match tcx::link_create(program.as_fd(), place.interface, hook(place.direction)) {
            Ok(link) => link,
            Err(e) if is(&e, Errno::NODEV) => return Ok(false),
            Err(e) => return Err(e),
        };
        let (path, fresh) = (self.path(place), self.0.join(format!("{}_new", place.pin())));
        unlink(&fresh)?;
        bpf::pin(link.as_fd(), &fresh)?;
        fs::rename(&fresh, &path)?;
        if let Some(predecessor) = predecessor {
            detach(&predecessor)?;
        }
        Ok(true)
    }

    /// Gives a link another program, without a gap. Whether the interface is there.
    pub(super) fn update(&self, place: Place, program: &Program) -> io::Result<bool> {
        let Some(link) = self.open(place)? else { return self.attach(place, program) };
        match bpf::link_update(link.as_fd(), program.as_fd()) {
            Ok(()) => Ok(true),
            Err(e) if is(&e, Errno::NOLINK) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Detaches and unpins.
    pub(super) fn detach(&self, place: Place) -> io::Result<()> {
        if let Some(link) = self.open(place)? {
            detach(&link)?;
        }
        unlink(&self.path(place))
    }

    /// The places that something is pinned for.
    pub(super) fn places(&self) -> io::Result<Vec<Place>> {
        Ok(entries(&self.0)?.iter().filter_map(|name| Place::of_pin(name)).collect())
    }

    /// Its place alone does not tell where a link hangs: an interface of another namespace may have the same number.
    fn hung(&self, place: Place) -> io::Result<Hung> {
        let Some(link) = self.open(place)? else { return Ok(Hung::Nothing) };
        let Some(info) = bpf::link_info(link.as_fd())?.filter(|info| info.interface == place.interface)
        else {
            return Ok(Hung::Nothing);
        };
        let there = match tcx::query(place.interface, hook(place.direction)) {
            Ok(there) => there,
            Err(e) if is(&e, Errno::NODEV) => return Ok(Hung::Nothing),
            Err(e) => return Err(e),
        };
        let found = there.into_iter().find(|attached| attached.link == info.id);
        Ok(found.map_or(Hung::Nothing, |attached| Hung::Program(attached.program)))
    }

    fn path(&self, place: Place) -> PathBuf {
        self.0.join(place.pin())
    }

    fn open(&self, place: Place) -> io::Result<Option<OwnedFd>> {
        match bpf::object_get(&self.path(place)) {
            Ok(link) => Ok(Some(link)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The names in a directory; none where there is no directory.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Takes a link's program off its hook, which may be gone already.
fn detach(link: &OwnedFd) -> io::Result<()> {
    match bpf::link_detach(link.as_fd()) {
        Err(e) if !is(&e, Errno::NOLINK) => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
