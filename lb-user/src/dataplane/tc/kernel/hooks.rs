use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Program,
    clsact::Filters,
    foreign, qdisc,
    tcx::{self, Links},
};
use crate::{
    dataplane::{
        DataplaneError,
        tc::{
            diff::{Change, Hung, diff},
            place::{Direction, Foreign, Mechanism, Owner, Place},
        },
    },
    os::netlink::{routes::LOOPBACK, rtnl::Rtnl},
};

/// Where one of our programs runs for each place, and who else does.
pub struct Hooks {
    links: Links,
    filters: Filters,
    mechanism: Mechanism,
}

/// What loading and attaching a program takes.
const CAPABILITIES: &str = "CAP_BPF or CAP_NET_ADMIN";

/// What came of one round of mending.
#[derive(Debug, Default)]
pub struct Mended {
    /// How many changes were tried.
    pub made: usize,
    /// How many are left for the next round.
    pub left: usize,
    /// What did not succeed, each with its place.
    pub failures: Vec<(Place, DataplaneError)>,
}

impl Hooks {
    /// `links` and `made` are directories on a bpffs, and are made: for the pinned links, and for what says which qdiscs are
    /// ours; the latter is the same for all owners. Without a mechanism it is TCX where the kernel has it, which is
    /// tried.
    ///
    /// # Errors
    /// Without the capabilities to load and attach programs; when the directories cannot be made.
    pub fn open(
        links: &Path,
        made: &Path,
        owner: Owner,
        mechanism: Option<Mechanism>,
    ) -> Result<Self, DataplaneError> {
        let mechanism = match mechanism {
            Some(mechanism) => mechanism,
            None if tcx::works(LOOPBACK).map_err(DataplaneError::denied("try", "TCX", CAPABILITIES))? => {
                Mechanism::Tcx
            }
            None => Mechanism::Clsact,
        };
        for directory in [links, made] {
            let object = directory.display().to_string();
            fs::create_dir_all(directory).map_err(DataplaneError::denied(
                "create",
                object,
                "CAP_DAC_OVERRIDE",
            ))?;
        }
        Ok(Self::new(links, made, owner, mechanism))
    }

    fn new(links: &Path, made: &Path, owner: Owner, mechanism: Mechanism) -> Self {
        let filters = Filters { made: made.to_owned(), owner };
        Self { links: Links(links.to_owned()), filters, mechanism }
    }

    /// What runs, however it was attached, without changing anything.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn peek(links: &Path, made: &Path, owner: Owner) -> Result<BTreeMap<Place, Hung>, DataplaneError> {
        let mut found = Self::new(links, made, owner, Mechanism::Clsact).observe()?;
        found.extend(Self::new(links, made, owner, Mechanism::Tcx).observe()?);
        Ok(found)
    }

    /// How programs are attached.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What runs, and what is left where nothing runs any more.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn observe(&self) -> Result<BTreeMap<Place, Hung>, DataplaneError> {
        match self.mechanism {
            Mechanism::Tcx => self.links.observe().map_err(refused("list", self.object())),
            Mechanism::Clsact => self.filters.observe().map_err(refused("list", self.object())),
        }
    }

    /// Makes one step of [`diff`]'s. `program` is the one that the place should have; only a [`Change::Detach`] needs
    /// none. Whether the interface is there: one that has gone is no failure.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn apply(&self, change: Change, program: Option<&Program>) -> Result<bool, DataplaneError> {
        let (operation, place) = match change {
            Change::Attach(place) => ("attach a program to", place),
            Change::Update(place) => ("update the program at", place),
            Change::Detach(place) => ("detach a program from", place),
        };
        let made = match (change, program, self.mechanism) {
            (Change::Detach(place), _, Mechanism::Tcx) => self.links.detach(place).map(|()| true),
            (Change::Detach(place), _, Mechanism::Clsact) => self.filters.detach(place).map(|()| true),
            (_, None, _) => Err(io::Error::other("no program is given")),
            (Change::Attach(place), Some(program), Mechanism::Tcx) => self.links.attach(place, program),
            (Change::Update(place), Some(program), Mechanism::Tcx) => self.links.update(place, program),
            (_, Some(program), Mechanism::Clsact) => self.filters.attach(place, program),
        };
        made.map_err(refused(operation, place.to_string()))
    }

    /// Observes, compares and mends. One place that fails does not keep the others from being mended.
    ///
    /// After `patience` no further change is begun: the kernel takes its time for each TCX program that comes or goes, an RCU
    /// grace period of some 20 ms, in which it changes no other interface either.
    ///
    /// # Errors
    /// When what runs cannot be observed.
    pub fn reconcile(
        &self,
        wanted: &BTreeMap<Place, &Program>,
        patience: Duration,
    ) -> Result<Mended, DataplaneError> {
        let began = Instant::now();
        let ids = wanted.iter().map(|(place, program)| (*place, program.id())).collect();
        let changes = diff(&self.observe()?, &ids);
        let mut mended = Mended { left: changes.len(), ..Mended::default() };
        for change in changes {
            if mended.made > 0 && began.elapsed() > patience {
                break;
            }
            let (Change::Attach(place) | Change::Update(place) | Change::Detach(place)) = change;
            tracing::debug!(?change, mechanism = %self.mechanism, "changing what runs on an interface");
            (mended.made, mended.left) = (mended.made + 1, mended.left - 1);
            if let Err(error) = self.apply(change, wanted.get(&place).copied()) {
                mended.failures.push((place, error));
            }
        }
        Ok(mended)
    }

    /// Others' programs and filters in both directions of interfaces, in the order in which they run. What is in `hung` is not
    /// told, nor are programs of these ids, which are ours too.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn foreign(
        interfaces: impl IntoIterator<Item = u32>,
        hung: &BTreeMap<Place, Hung>,
        ours: &BTreeSet<u32>,
    ) -> Result<Vec<Foreign>, DataplaneError> {
        let running = hung.values().filter_map(|hung| match hung {
            Hung::Program(id) => Some(*id),
            Hung::Nothing => None,
        });
        let ours: BTreeSet<u32> = ours.iter().copied().chain(running).collect();
        let look = || {
            let mut rtnl = Rtnl::open()?;
            let qdiscs = qdisc::list(&mut rtnl)?;
            let mut found = Vec::new();
            for interface in interfaces {
                let qdisc = qdiscs.get(&interface).copied();
                for direction in Direction::ALL {
                    found.extend(foreign::at(&mut rtnl, Place { interface, direction }, qdisc, &ours)?);
                }
            }
            io::Result::Ok(found)
        };
        look().map_err(refused("list", "others' programs on interfaces".to_owned()))
    }

    /// Detaches everything, however it was attached, and removes the directories. Says from where.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub fn cleanup(links: &Path, made: &Path, owner: Owner) -> Result<Vec<Place>, DataplaneError> {
        let mut places = Vec::new();
        for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
            let hooks = Self::new(links, made, owner, mechanism);
            for place in hooks.observe()?.into_keys() {
                hooks.apply(Change::Detach(place), None)?;
                places.push(place);
            }
        }
        for directory in [links, made] {
            remove_empty(directory)?;
        }
        Ok(places)
    }

    fn object(&self) -> String {
        format!("programs on interfaces ({})", self.mechanism)
    }
}

/// Another owner may need it still.
fn remove_empty(directory: &Path) -> Result<(), DataplaneError> {
    match fs::remove_dir(directory) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(DataplaneError::failed("remove", directory.display().to_string())(e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells a missing feature and a missing capability from other failures.
fn refused(operation: &'static str, object: String) -> impl FnOnce(io::Error) -> DataplaneError {
    move |error| match error {
        error if error.kind() == io::ErrorKind::Unsupported => DataplaneError::Missing {
            what: "this kernel has neither TCX nor the qdisc clsact with bpf filters".to_owned(),
            remedy: "use Linux 6.6 or later, or a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF"
                .to_owned(),
        },
        error => DataplaneError::denied(operation, object, "CAP_NET_ADMIN")(error),
    }
}
