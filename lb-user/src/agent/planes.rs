//! The dataplanes in use, and those that the node has moved away from while connections still hang on them.

use std::{collections::BTreeMap, time::Duration};

use lb_core::{
    control::{Eviction, Pair},
    desired::DesiredState,
    model::{DataplaneKind, Dataplanes},
};

use crate::dataplane::{Counters, DataplaneError, Evicted, Inspection, Plane};

/// How often the kernel is compared where nothing is in use: never seen, since something always is.
const IDLE: Duration = Duration::from_secs(5);

/// The dataplanes that take new connections, and others that only keep old ones. Of each kind there is one at most.
pub(super) struct Planes {
    /// In the order of [`Dataplanes::kinds`].
    current: Vec<Box<dyn Plane>>,
    retiring: Vec<Retiring>,
}

struct Retiring {
    plane: Box<dyn Plane>,
    quiet: bool,
}

/// What came of a move.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Those that were asked for are in use.
    Done,
    /// One that was asked for is not here: it has to be opened. Those in use are as before.
    Lacking {
        /// Which are here.
        held: Vec<DataplaneKind>,
    },
}

impl Planes {
    /// `leftovers` go on taking connections until `current` hold what they should.
    pub(super) fn new(current: Vec<Box<dyn Plane>>, leftovers: Vec<Box<dyn Plane>>) -> Self {
        Self { current, retiring: leftovers.into_iter().map(Retiring::from).collect() }
    }

    /// Moves to other dataplanes: those in use stay as they are, those that retire are returned to, and the rest is among
    /// `opened`. Who comes in is programmed completely before who goes is told to take no more connections; where that fails
    /// everything stays as it was, and what was opened is removed.
    pub(super) fn switch(
        &mut self,
        to: Dataplanes,
        mut opened: Vec<Box<dyn Plane>>,
        desired: &DesiredState,
    ) -> Result<Moved, DataplaneError> {
        opened.retain(|plane| !self.held().contains(&plane.kind()));
        let is_here = |kind: &DataplaneKind| {
            self.held().contains(kind) || opened.iter().any(|plane| plane.kind() == *kind)
        };
        if !to.kinds().iter().all(is_here) {
            // What was opened waits here for the others: without them it goes again.
            self.retiring.extend(opened.into_iter().map(Retiring::from));
            return Ok(Moved::Lacking { held: self.held() });
        }
        if let Err(error) = self.program(to, &mut opened, desired) {
            opened.iter_mut().for_each(undo);
            return Err(error);
        }
        self.take_in(to, opened);
        Ok(Moved::Done)
    }

    /// Programs those that are not in use yet.
    fn program(
        &mut self,
        to: Dataplanes,
        opened: &mut [Box<dyn Plane>],
        desired: &DesiredState,
    ) -> Result<(), DataplaneError> {
        for returning in self.retiring.iter_mut().filter(|old| to.has(old.plane.kind())) {
            returning.plane.resume();
            // Where it fails it is told once more to take none.
            returning.quiet = false;
            returning.plane.reconcile(desired)?;
        }
        opened.iter_mut().try_for_each(|plane| plane.reconcile(desired).map(drop))
    }

    fn take_in(&mut self, to: Dataplanes, opened: Vec<Box<dyn Plane>>) {
        let (returning, staying) =
            self.retiring.drain(..).partition::<Vec<_>, _>(|old| to.has(old.plane.kind()));
        let (mut current, left) = self.current.drain(..).partition::<Vec<_>, _>(|plane| to.has(plane.kind()));
        current.extend(returning.into_iter().map(|old| old.plane).chain(opened));
        current.sort_by_key(|plane| to.kinds().iter().position(|kind| *kind == plane.kind()));
        self.current = current;
        self.retiring = staying.into_iter().chain(left.into_iter().map(Retiring::from)).collect();
    }

    /// Which are here, in use or not.
    fn held(&self) -> Vec<DataplaneKind> {
        let retiring = self.retiring.iter().map(|old| &old.plane);
        self.current.iter().chain(retiring).map(|plane| plane.kind()).collect()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Box<dyn Plane>> {
        self.current.iter_mut().chain(self.retiring.iter_mut().map(|old| &mut old.plane))
    }

    /// Mends what differs. Those that retire are kept right too, since backends of theirs may die; once no connection
    /// hangs on one it is removed. One that fails keeps none of the others back, but while one in use does not work none
    /// is told to retire.
    pub(super) fn reconcile(&mut self, desired: &DesiredState) -> Result<usize, DataplaneError> {
        let mut changes = 0;
        let mut first = None;
        for plane in &mut self.current {
            match plane.reconcile(desired) {
                Ok(made) => changes += made,
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        if let Some(error) = first {
            return Err(error);
        }
        self.retiring.retain_mut(|old| match retire(old, desired) {
            Ok(gone) => !gone,
            Err(error) => {
                first.get_or_insert(error);
                true
            }
        });
        first.map_or(Ok(changes), Err)
    }

    /// Every one is searched, whatever becomes of the others.
    pub(super) fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        let mut sum = Evicted::default();
        let mut first = None;
        for plane in self.all() {
            match plane.evict(evictions) {
                Ok(evicted) => sum += evicted,
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        first.map_or(Ok(sum), Err)
    }

    /// What all have counted together.
    pub(super) fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        let mut sum: BTreeMap<Pair, Counters> = BTreeMap::new();
        for plane in self.all() {
            for (pair, counted) in plane.counters()? {
                *sum.entry(pair).or_default() += counted;
            }
        }
        Ok(sum)
    }

    pub(super) fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        let several = self.current.len() > 1;
        let mut sum = Inspection { ineffective: None, warnings: Vec::new(), facts: Vec::new() };
        for plane in &mut self.current {
            let Inspection { ineffective, warnings, facts } = plane.inspect()?;
            let kind = plane.kind();
            let named = |text: String| if several { format!("{kind}: {text}") } else { text };
            sum.ineffective = sum.ineffective.or(ineffective.map(named));
            sum.warnings.extend(warnings.into_iter().map(named));
            let label = |label: String| if several { format!("{kind} {label}") } else { label };
            sum.facts.extend(facts.into_iter().map(|(name, value)| (label(name), value)));
        }
        for old in &mut self.retiring {
            let active: u64 = old.plane.counters()?.values().map(|counted| counted.active).sum();
            let kind: DataplaneKind = old.plane.kind();
            let text = format!("{kind}, until its last connections end ({active} now)");
            sum.facts.push(("also in place".to_owned(), text));
        }
        Ok(sum)
    }

    pub(super) fn settle(&mut self) -> Result<(), DataplaneError> {
        self.current.iter_mut().try_for_each(|plane| plane.settle())
    }

    /// Whether the next comparison goes on with what the last one began.
    pub(super) fn are_unfinished(&self) -> bool {
        self.current.iter().any(|plane| plane.is_unfinished())
    }

    pub(super) fn resync(&self) -> Duration {
        self.current.iter().map(|plane| plane.resync()).min().unwrap_or(IDLE)
    }
}

impl From<Box<dyn Plane>> for Retiring {
    fn from(plane: Box<dyn Plane>) -> Self {
        Self { plane, quiet: false }
    }
}

/// Removes a dataplane that did not work, or whose partner did not.
fn undo(plane: &mut Box<dyn Plane>) {
    if let Err(error) = plane.remove() {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(kind = %plane.kind(), error, "failed to remove a dataplane that did not work");
    }
}

/// Whether it is gone.
fn retire(old: &mut Retiring, desired: &DesiredState) -> Result<bool, DataplaneError> {
    let plane = &mut old.plane;
    if !old.quiet {
        plane.quiesce()?;
        old.quiet = true;
        tracing::info!(kind = %plane.kind(), "a dataplane takes no new connections any more");
        // A connect that was being made meanwhile is not counted yet.
        return Ok(false);
    }
    plane.reconcile(desired)?;
    if plane.counters()?.values().any(|counted| counted.active > 0) {
        return Ok(false);
    }
    plane.remove()?;
    tracing::info!(kind = %plane.kind(), "a dataplane that nothing hangs on any more is removed");
    Ok(true)
}
