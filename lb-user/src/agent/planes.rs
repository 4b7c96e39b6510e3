//! The dataplane in use, and those that the node has moved away from while connections still hang on them.

use std::{collections::BTreeMap, time::Duration};

use lb_core::{
    control::{Eviction, Pair},
    desired::DesiredState,
    model::DataplaneKind,
};

use crate::dataplane::{Counters, DataplaneError, Evicted, Inspection, Plane};

/// One dataplane that takes new connections, and others that only keep old ones.
pub(super) struct Planes {
    current: Box<dyn Plane>,
    /// Bounded by the number of dataplanes: each is here at most once.
    retiring: Vec<Retiring>,
}

struct Retiring {
    plane: Box<dyn Plane>,
    quiet: bool,
}

impl Planes {
    /// `leftovers` go on taking connections until `current` holds what it should.
    pub(super) fn new(current: Box<dyn Plane>, leftovers: Vec<Box<dyn Plane>>) -> Self {
        let retiring = leftovers.into_iter().map(|plane| Retiring { plane, quiet: false }).collect();
        Self { current, retiring }
    }

    /// Moves to another dataplane, of a kind that does not retire. It is programmed completely before the one in use is told to take no more
    /// connections; where that fails everything stays as it was.
    pub(super) fn switch(
        &mut self,
        mut next: Box<dyn Plane>,
        desired: &DesiredState,
    ) -> Result<(), DataplaneError> {
        if let Err(error) = next.reconcile(desired) {
            if let Err(undo) = next.remove() {
                let error = &undo as &dyn std::error::Error;
                tracing::warn!(kind = %next.kind(), error, "failed to remove a dataplane that did not work");
            }
            return Err(error);
        }
        let plane = std::mem::replace(&mut self.current, next);
        self.retiring.push(Retiring { plane, quiet: false });
        Ok(())
    }

    /// Moves back to a dataplane that connections still hang on. `None`: no such one retires. Where that fails everything
    /// stays as it was.
    pub(super) fn switch_back(
        &mut self,
        kind: DataplaneKind,
        desired: &DesiredState,
    ) -> Option<Result<(), DataplaneError>> {
        let returning = self.retiring.iter_mut().find(|old| old.plane.kind() == kind)?;
        returning.plane.resume();
        // Where it fails it is told once more to take none.
        returning.quiet = false;
        let reconciled = returning.plane.reconcile(desired).map(drop);
        if reconciled.is_ok() {
            std::mem::swap(&mut self.current, &mut returning.plane);
        }
        Some(reconciled)
    }

    /// Mends what differs. Those that retire are kept right too, since backends of theirs may die; once no connection
    /// hangs on one it is removed.
    pub(super) fn reconcile(&mut self, desired: &DesiredState) -> Result<usize, DataplaneError> {
        let changes = self.current.reconcile(desired)?;
        let mut first = None;
        self.retiring.retain_mut(|old| match retire(old, desired) {
            Ok(gone) => !gone,
            Err(error) => {
                first.get_or_insert(error);
                true
            }
        });
        first.map_or(Ok(changes), Err)
    }

    pub(super) fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        let mut sum = self.current.evict(evictions)?;
        for old in &mut self.retiring {
            sum += old.plane.evict(evictions)?;
        }
        Ok(sum)
    }

    /// What all have counted together.
    pub(super) fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        let mut sum = self.current.counters()?;
        for old in &mut self.retiring {
            for (pair, counted) in old.plane.counters()? {
                *sum.entry(pair).or_default() += counted;
            }
        }
        Ok(sum)
    }

    pub(super) fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        let mut inspection = self.current.inspect()?;
        for old in &mut self.retiring {
            let active: u64 = old.plane.counters()?.values().map(|counted| counted.active).sum();
            let kind: DataplaneKind = old.plane.kind();
            let text = format!("{kind}, until its last connections end ({active} now)");
            inspection.facts.push(("also in place".to_owned(), text));
        }
        Ok(inspection)
    }

    pub(super) fn settle(&mut self) -> Result<(), DataplaneError> {
        self.current.settle()
    }

    pub(super) fn resync(&self) -> Duration {
        self.current.resync()
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
