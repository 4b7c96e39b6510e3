use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use rustix::io::Errno;

use super::Change;
use crate::{
    dataplane::{
        DataplaneError,
        tc::{Hung, Program},
    },
    os::{
        bpf::{self, xdp},
        netlink::{interfaces, is},
    },
};

/// The pinned links of a directory, each named by its interface's number.
#[derive(Clone, Debug)]
pub struct Links(PathBuf);

impl Links {
    /// Those in a directory on a bpffs, which is made when it is needed.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// What is pinned, and what runs by it in this network namespace.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn observe(&self) -> Result<BTreeMap<u32, Hung>, DataplaneError> {
        let look = || self.pinned()?.into_iter().map(|at| Ok((at, self.hung(at)?))).collect();
        let found: io::Result<_> = look();
        found.map_err(DataplaneError::failed("list", "XDP programs on interfaces"))
    }

    /// Makes one step of [`super::diff`]'s; only a [`Change::Detach`] needs no program. Whether the interface is there.
    ///
    /// # Errors
    /// When the kernel refuses: somebody else's program is there, or the driver cannot.
    pub fn apply(&self, change: Change, program: Option<&Program>) -> Result<bool, DataplaneError> {
        let interface = change.interface();
        let (operation, made) = match (change, program) {
            (Change::Detach(_), _) => ("detach an XDP program from", self.detach(interface).map(|()| true)),
            (_, None) => ("find the XDP program for", Err(io::Error::other("no program is given"))),
            (Change::Attach(_), Some(program)) => {
                ("attach an XDP program to", self.attach(interface, program))
            }
            (Change::Update(_), Some(program)) => {
                ("update the XDP program on", self.update(interface, program))
            }
        };
        made.map_err(DataplaneError::denied(operation, format!("interface {interface}"), "CAP_NET_ADMIN"))
    }

    /// Detaches everything, and says from which interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cleanup(&self) -> Result<Vec<u32>, DataplaneError> {
        let found = self.observe()?;
        found.keys().try_for_each(|interface| self.apply(Change::Detach(*interface), None).map(drop))?;
        Ok(found.into_keys().collect())
    }

    fn attach(&self, interface: u32, program: &Program) -> io::Result<bool> {
        // What may be pinned there hangs nowhere, or on another namespace's interface.
        self.detach(interface)?;
        fs::create_dir_all(&self.0)?;
        let link = match xdp::link_create(program.as_fd(), interface) {
            Ok(link) => link,
            Err(e) if is(&e, Errno::NODEV) => return Ok(false),
            Err(e) => return Err(e),
        };
        bpf::pin(link.as_fd(), &self.path(interface))?;
        Ok(true)
    }

    fn update(&self, interface: u32, program: &Program) -> io::Result<bool> {
        let Some(link) = self.open(interface)? else { return self.attach(interface, program) };
        match bpf::link_update(link.as_fd(), program.as_fd()) {
            Ok(()) => Ok(true),
            Err(e) if is(&e, Errno::NOLINK) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn detach(&self, interface: u32) -> io::Result<()> {
        let Some(link) = self.open(interface)? else { return Ok(()) };
        match bpf::link_detach(link.as_fd()) {
            Err(e) if !is(&e, Errno::NOLINK) => return Err(e),
            Ok(()) | Err(_) => {}
        }
        match fs::remove_file(self.path(interface)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn pinned(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<io::Result<_>>()?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Its name alone does not tell where a link hangs: an interface of another namespace may have the same number.
    fn hung(&self, interface: u32) -> io::Result<Hung> {
        let Some(link) = self.open(interface)? else { return Ok(Hung::Nothing) };
        let info = bpf::link_info(link.as_fd())?.filter(|info| info.interface == interface);
        let (Some(info), Some(found)) = (info, interfaces::one(interface)?) else {
            return Ok(Hung::Nothing);
        };
        let runs = found.xdp.is_some_and(|program| program.id == info.program);
        Ok(if runs { Hung::Program(info.program) } else { Hung::Nothing })
    }

    fn path(&self, interface: u32) -> PathBuf {
        self.0.join(interface.to_string())
    }

    fn open(&self, interface: u32) -> io::Result<Option<OwnedFd>> {
        match bpf::object_get(&self.path(interface)) {
            Ok(link) => Ok(Some(link)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}
