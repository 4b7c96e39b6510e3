//! The socket dataplane: eBPF on the cgroup hooks connect4/6, getpeername4/6 and sock_ops.
//!
//! `native` is the state as data, `kernel` makes the calls, `evict` ends sockets.

mod evict;
mod hook;
mod inspect;
mod kernel;
mod native;
mod rescue;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lb_common::socket::LAYOUT_VERSION;
use lb_core::{
    control::{Eviction, Pair},
    desired::DesiredState,
    model::{DataplaneKind, Scope},
    view::connections::{Connection, Table},
};

pub use hook::Hook;
pub use kernel::{BpfLog, Loaded, Proof, Signals, answer_proof, attached, try_programs};
pub use native::{Change, SocketState, lower};

pub use kernel::RescuedMaps;
pub use rescue::{RescueChange, RescueState};

use self::{
    inspect::Rescues,
    kernel::{Links, SocketMaps},
    rescue::Rescue,
};
use super::{
    Counters, Dataplane, DataplaneError, Evicted, HeldService, Inspection, Unsupported,
    elders::Elders,
    packet::made,
    services::{Pins, Tables, kernel::ServiceMaps, remove_pins},
    tc::Program,
};
use crate::os::{bpffs, capability, lock::AgentLock};

/// Nobody but root's own tools removes a pinned link or a map entry, so looking is for accidents.
const RESYNC: Duration = Duration::from_secs(5);

/// The cookie that no network namespace has: nobody is served.
const NOBODY: u64 = u64::MAX;

/// The letter of its layouts' directories.
const LAYOUT: char = 'v';

/// The pins of this layout version below `bpffs:` of the config.
pub(crate) fn pins(bpffs: &Path) -> Pins {
    Pins::new(bpffs, &format!("{LAYOUT}{LAYOUT_VERSION}"))
}

/// The programs that follow rescued connections, as the kernel knows them; those that are not pinned are left out.
pub(super) fn rescue_programs(bpffs: &Path) -> BTreeSet<u32> {
    let pins = pins(bpffs);
    let programs =
        kernel::RESCUE_PROGRAMS.iter().filter_map(|(_, pin)| Program::pinned(&pins.program(pin)).ok());
    programs.map(|program| program.id()).collect()
}

/// What the dataplane is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin.
    pub bpffs: PathBuf,
    /// The cgroup whose processes are served.
    pub cgroup: PathBuf,
    /// Whose sockets are served.
    pub scope: Scope,
    /// The node's name, which decides where its home is with `policy: sticky`.
    pub node: String,
    /// Whether connections that are not answered go to another backend, where the kernel can do it.
    pub rescue: bool,
    /// What the kernel programs log.
    pub log: BpfLog,
}

/// The socket dataplane, loaded.
pub struct SocketDataplane {
    options: Options,
    tables: Tables<ServiceMaps>,
    maps: SocketMaps,
    links: Links,
    rescue: Rescue,
    /// Why connections cannot be sent to another backend, though they should.
    no_rescue: Option<String>,
    proof: Option<Proof>,
    can_end_sockets: bool,
    elders: Elders,
    older_layouts: OlderLayouts,
    /// It takes no new connects any more.
    quiesced: bool,
    lock: Option<Arc<AgentLock>>,
}

/// What was pinned by another version may go once this one works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OlderLayouts {
    Unknown,
    Gone,
}

impl SocketDataplane {
    /// Loads the programs and gives them to the links that a predecessor left; connections in the making notice
    /// nothing. What was pinned under another layout version stays until the first [`Dataplane::settle`].
    pub fn open(options: Options) -> Result<(Self, Loaded), DataplaneError> {
        capability::require("program the socket dataplane")?;
        bpffs::ensure(&options.bpffs)?;
        let pins = pins(&options.bpffs);
        let loaded = kernel::load(&pins, options.log, options.rescue)?;
        let wanted = options.rescue && loaded.no_rescue.is_none();
        let rescue = Rescue::open(&pins, &made(&options.bpffs), wanted)?;
        let no_rescue = loaded.no_rescue.clone().filter(|_| options.rescue);
        if let Some(why) = &no_rescue {
            tracing::warn!(%why, "connects that a backend does not answer cannot be sent to another one");
        }
        let mut maps = SocketMaps::open(&pins)?;
        let tables = Tables::new(ServiceMaps::open(&pins)?);
        let links = Links::new(pins, &options.cgroup);
        if links.effective()?.is_empty() {
            maps.set_netns_cookie(NOBODY);
        }
        links.upgrade()?;
        let can_end_sockets = super::evict::can_end_sockets()?;
        let this = Self {
            options,
            tables,
            maps,
            links,
            rescue,
            no_rescue,
            proof: None,
            can_end_sockets,
            elders: Elders::default(),
            older_layouts: OlderLayouts::Unknown,
            quiesced: false,
            lock: None,
        };
        Ok((this, loaded))
    }

    /// Keeps other agents away from what is pinned for as long as this lives.
    #[must_use]
    pub fn holding(mut self, lock: Arc<AgentLock>) -> Self {
        self.lock = Some(lock);
        self
    }

    /// What the kernel holds, without loading or changing anything; `None` when nothing is pinned. Without a cgroup
    /// to compare with, `hooks` are left out.
    pub fn peek(bpffs: &Path, cgroup: Option<&Path>) -> Result<Option<SocketState>, DataplaneError> {
        let pins = pins(bpffs);
        if !pins.base().exists() {
            return Ok(None);
        }
        let hooks = match cgroup {
            Some(cgroup) => Links::new(pins.clone(), cgroup).effective()?,
            None => Default::default(),
        };
        let scope = match SocketMaps::open(&pins)?.settings().netns_cookie {
            0 => Some(Scope::Node),
            NOBODY => None,
            _ => Some(Scope::Host),
        };
        let services = Tables::new(ServiceMaps::open(&pins)?).observe()?;
        Ok(Some(SocketState { hooks, scope, services, rescue: Default::default() }))
    }

    /// The services that the kernel holds.
    pub fn services(&self) -> Result<BTreeMap<SocketAddr, HeldService>, DataplaneError> {
        Ok(self.tables.observe()?.into_iter().map(|(vip, service)| (vip, service.into())).collect())
    }

    /// Tells every connection that was sent to another backend; `None`: none ever was. Loads nothing and changes nothing.
    ///
    /// # Errors
    /// When what is pinned cannot be read.
    pub fn peek_rescued(
        bpffs: &Path,
        each: &mut dyn FnMut(Connection),
    ) -> Result<Option<Table>, DataplaneError> {
        rescue::peek(&pins(bpffs), each)
    }

    /// What the kernel counted, without an agent.
    pub fn peek_counters(bpffs: &Path) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        Tables::new(ServiceMaps::open(&pins(bpffs))?).counters()
    }

    /// Removes everything that any version of the agent ever pinned below `bpffs`.
    pub fn cleanup(bpffs: &Path) -> Result<Vec<String>, DataplaneError> {
        let mut removed = Rescue::cleanup(&pins(bpffs), &made(bpffs))?;
        removed.extend(remove_pins(bpffs, LAYOUT, |_| true)?);
        bpffs::release(bpffs)?;
        Ok(removed)
    }

    fn remove_older_layouts(&mut self) -> Result<(), DataplaneError> {
        let own = pins(&self.options.bpffs).base().to_owned();
        for layout in remove_pins(&self.options.bpffs, LAYOUT, |dir| dir != own)? {
            tracing::info!(layout, "removed what another version of lbctl had pinned");
        }
        self.older_layouts = OlderLayouts::Gone;
        Ok(())
    }

    /// Dials the proof address, so that status never says that all is well while the hooks hang elsewhere.
    pub fn prove(&mut self) -> Result<Proof, DataplaneError> {
        let proof = kernel::prove(self.tables.maps(), &self.maps, &self.options.cgroup)?;
        self.proof = Some(proof);
        Ok(proof)
    }

    fn renew_proof(&mut self) -> Result<Proof, DataplaneError> {
        match self.proof {
            // From outside the cgroup a proof takes a process, too dear for every look.
            Some(proof) if !proof.from_here => Ok(proof),
            // Where it shows anything else than before, this process may have been moved.
            Some(known) if kernel::prove_again(self.tables.maps(), &self.maps)? == known => Ok(known),
            _ => self.prove(),
        }
    }

    fn set_scope(&mut self, scope: Option<Scope>) -> Result<(), DataplaneError> {
        let cookie = match scope {
            Some(Scope::Node) => 0,
            Some(Scope::Host) => self.own_cookie()?,
            None => NOBODY,
        };
        self.maps.set_netns_cookie(cookie);
        Ok(())
    }

    /// Before Linux 5.14 a process cannot ask for its namespace's cookie, so the programs tell it.
    fn own_cookie(&mut self) -> Result<u64, DataplaneError> {
        let proof = match self.proof {
            Some(proof) if proof.connect4 || proof.connect6 => proof,
            _ => self.prove()?,
        };
        if proof.connect4 || proof.connect6 {
            return Ok(proof.netns_cookie);
        }
        Err(DataplaneError::Missing {
            what: format!("connects in cgroup {} do not pass through it", self.options.cgroup.display()),
            remedy: "set `cgroup:` to the host's true cgroup-v2 root".to_owned(),
        })
    }
}

impl Dataplane for SocketDataplane {
    const KIND: DataplaneKind = DataplaneKind::Socket;

    type Native = SocketState;
    type Change = Change;

    fn observe(&mut self, desired: &DesiredState) -> Result<SocketState, DataplaneError> {
        let hooks = self.links.effective()?;
        let scope = match self.maps.settings().netns_cookie {
            0 => Some(Scope::Node),
            NOBODY => None,
            cookie if !hooks.is_empty() => (cookie == self.own_cookie()?).then_some(Scope::Host),
            _ => None,
        };
        let rescue = self.rescue.observe(desired, &self.tables)?;
        Ok(SocketState { hooks, scope, services: self.tables.observe()?, rescue })
    }

    fn lower(&self, desired: &DesiredState) -> Result<SocketState, Unsupported> {
        let scope = (!self.quiesced).then_some(self.options.scope);
        let mut wanted = native::lower(desired, scope, &self.options.node);
        wanted.rescue = self.rescue.lower(&wanted.services, !self.quiesced);
        Ok(wanted)
    }

    fn diff(observed: &SocketState, wanted: &SocketState) -> Vec<Change> {
        native::diff(observed, wanted)
    }

    /// The order of writes across services matters to none of them, the hooks matter to all.
    fn subject(change: &Change) -> Option<SocketAddr> {
        match change {
            Change::Attach(_) | Change::SetScope(_) | Change::Rescue(_) => None,
            Change::Service(change) => Some(change.vip()),
        }
    }

    fn apply(&mut self, change: &Change) -> Result<(), DataplaneError> {
        match change {
            Change::Attach(hook) => {
                self.proof = None;
                self.links.attach(*hook)
            }
            Change::SetScope(scope) => self.set_scope(*scope),
            Change::Service(change) => self.tables.apply(change),
            Change::Rescue(change) => self.rescue.apply(change, &self.tables),
        }
    }

    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        if !self.can_end_sockets {
            return Ok(Evicted::default());
        }
        let tracks = self.maps.tracks_fd();
        let records = self.tables.records_by_pair()?.into_iter();
        let records: BTreeMap<u32, SocketAddr> =
            records.map(|((_, backend), index)| (index, backend)).collect();
        let record = |index: u32| records.get(&index).copied();
        super::evict::evict(&mut self.elders, self.options.scope, evictions, |diag| {
            let tracked = diag.tracked(tracks)?.into_iter();
            Ok(tracked.filter_map(|socket| Some((evict::pair_of(&socket, record)?, socket))).collect())
        })
    }

    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        self.tables.counters()
    }

    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        let proof = self.renew_proof()?;
        Ok(inspect::inspection(&inspect::Facts {
            cgroup: &self.options.cgroup,
            pins: pins(&self.options.bpffs).base(),
            hooks: &self.links.effective()?,
            proof,
            can_end_sockets: self.can_end_sockets,
            untracked: self.maps.settings().untracked,
            rescue: match (&self.no_rescue, self.options.rescue) {
                (Some(why), _) => Rescues::Cannot(why.clone()),
                (None, false) => Rescues::Off,
                (None, true) => {
                    Rescues::On { count: self.rescue.count(), refused: self.rescue.refused.len() }
                }
            },
        }))
    }

    /// Waits for programs that may still read what was retired, so that the next eviction need not.
    fn settle(&mut self) -> Result<(), DataplaneError> {
        if self.older_layouts == OlderLayouts::Unknown {
            self.remove_older_layouts()?;
        }
        self.tables.settle()?;
        self.rescue.sweep()
    }

    fn resync(&self) -> Duration {
        RESYNC
    }

    /// Sockets that were steered keep their memory, so that they are counted, shown and ended as before.
    fn quiesce(&mut self) -> Result<(), DataplaneError> {
        self.quiesced = true;
        self.set_scope(None)
    }

    fn resume(&mut self) {
        self.quiesced = false;
    }

    fn remove(&mut self) -> Result<(), DataplaneError> {
        // An open directory would keep the file system busy.
        self.lock = None;
        Self::cleanup(&self.options.bpffs).map(drop)
    }
}
