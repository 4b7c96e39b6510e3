//! Hanging the programs on a cgroup, and keeping them there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, CgroupSockAddrAttachType, ProgramError, SockOps, links::FdLink,
};

use crate::{
    dataplane::{DataplaneError, services::Pins, socket::hook::Hook},
    os::bpf,
};

/// The pinned links, and the cgroup on which they should hang.
pub struct Links {
    pins: Pins,
    cgroup: PathBuf,
}

impl Links {
    /// Touches nothing yet.
    pub fn new(pins: Pins, cgroup: &Path) -> Self {
        Self { pins, cgroup: cgroup.to_owned() }
    }

    /// The hooks whose pinned link hangs on the right cgroup. A link whose cgroup was removed is still pinned, but
    /// hangs nowhere.
    pub fn effective(&self) -> Result<BTreeSet<Hook>, DataplaneError> {
        let cgroup = fs::metadata(&self.cgroup)
            .map_err(DataplaneError::failed("open cgroup", self.cgroup.display().to_string()))?
            .ino();
        let hangs = |hook: &Hook| self.open(*hook).is_some_and(|link| hangs_on(&link, cgroup));
        Ok(Hook::ALL.into_iter().filter(hangs).collect())
    }

    fn open(&self, hook: Hook) -> Option<OwnedFd> {
        bpf::object_get(&self.pins.links().join(hook.pin())).ok()
    }

    /// Gives every link that hangs where it should the program that is pinned now, without a gap.
    pub fn upgrade(&self) -> Result<(), DataplaneError> {
        for hook in self.effective()? {
            if let Some(link) = self.open(hook) {
                let path = self.pins.program(hook.pin());
                let program = bpf::object_get(&path)
                    .map_err(DataplaneError::failed("open", path.display().to_string()))?;
                bpf::link_update(link.as_fd(), program.as_fd())
                    .map_err(DataplaneError::failed("upgrade", format!("link {hook}")))?;
            }
        }
        Ok(())
    }

    /// Attaches the pinned program of a hook and pins the link in place of its predecessor, which is let go last.
    pub fn attach(&self, hook: Hook) -> Result<(), DataplaneError> {
        let cgroup = File::open(&self.cgroup)
            .map_err(DataplaneError::failed("open cgroup", self.cgroup.display().to_string()))?;
        let predecessor = self.open(hook);
        let link = create_link(&self.pins.program(hook.pin()), &cgroup, hook)
            .map_err(DataplaneError::failed("attach", format!("{hook} to {}", self.cgroup.display())))?;
        let (path, fresh) =
            (self.pins.links().join(hook.pin()), self.pins.links().join(format!("{hook}_new")));
        if fresh.exists() {
            fs::remove_file(&fresh).map_err(DataplaneError::failed("remove", fresh.display().to_string()))?;
        }
        let object = path.display().to_string();
        link.pin(&fresh).map_err(DataplaneError::failed("pin", object.clone()))?;
        fs::rename(&fresh, &path).map_err(DataplaneError::failed("rename", object))?;
        // Elsewhere on the tree it would go on balancing for others; dead it refuses, which is as good.
        if let Some(old) = predecessor
            && let Err(error) = bpf::link_detach(old.as_fd())
        {
            tracing::debug!(%hook, %error, "the link's predecessor was detached already");
        }
        Ok(())
    }
}

fn hangs_on(link: &OwnedFd, cgroup: u64) -> bool {
    matches!(bpf::link_cgroup(link.as_fd()), Ok(Some(id)) if id == cgroup)
}

/// Links are multi by nature: programs of others on the same hook stay. The mode says so by being left out.
fn create_link(
    program: &Path,
    cgroup: &File,
    hook: Hook,
) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>> {
    let kind = match hook {
        Hook::SockOps => {
            let mut program = SockOps::from_pin(program)?;
            let id = program.attach(cgroup, CgroupAttachMode::Single)?;
            return Ok(program.take_link(id)?.try_into()?);
        }
        Hook::GetPeerName4 => CgroupSockAddrAttachType::GetPeerName4,
        Hook::GetPeerName6 => CgroupSockAddrAttachType::GetPeerName6,
        Hook::Connect4 => CgroupSockAddrAttachType::Connect4,
        Hook::Connect6 => CgroupSockAddrAttachType::Connect6,
    };
    let mut program = CgroupSockAddr::from_pin(program, kind)?;
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(|e: ProgramError| e)?;
    Ok(program.take_link(id)?.try_into()?)
}
