use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_core::{
    control::{Eviction, Pair},
    desired::DesiredState,
    model::DataplaneKind,
};

use super::{Counters, Dataplane, DataplaneError, Evicted, Inspection};

/// A [`Dataplane`] whose own state nobody need know: what the agent holds.
pub trait Plane: Send {
    /// Which one.
    fn kind(&self) -> DataplaneKind;

    /// Observes, compares and mends. Gives the number of changes.
    fn reconcile(&mut self, desired: &DesiredState) -> Result<usize, DataplaneError>;

    /// [`Dataplane::evict`].
    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError>;

    /// [`Dataplane::counters`].
    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError>;

    /// [`Dataplane::inspect`].
    fn inspect(&mut self) -> Result<Inspection, DataplaneError>;

    /// [`Dataplane::settle`].
    fn settle(&mut self) -> Result<(), DataplaneError>;

    /// [`Dataplane::resync`].
    fn resync(&self) -> Duration;

    /// [`Dataplane::is_unfinished`].
    fn is_unfinished(&self) -> bool {
        false
    }

    /// [`Dataplane::quiesce`].
    fn quiesce(&mut self) -> Result<(), DataplaneError>;

    /// [`Dataplane::resume`].
    fn resume(&mut self);

    /// [`Dataplane::remove`].
    fn remove(&mut self) -> Result<(), DataplaneError>;
}

impl<D: Dataplane + Send> Plane for D {
    fn kind(&self) -> DataplaneKind {
        D::KIND
    }

    fn reconcile(&mut self, desired: &DesiredState) -> Result<usize, DataplaneError> {
        let observed = self.observe(desired)?;
        let changes = D::diff(&observed, &self.lower(desired)?);
        let mut failed = BTreeSet::new();
        let mut first = None;
        for change in &changes {
            let subject = D::subject(change);
            if subject.is_some_and(|vip| failed.contains(&vip)) {
                continue;
            }
            tracing::debug!(?change, "programming the kernel");
            let Err(error) = self.apply(change) else { continue };
            let Some(vip) = subject else { return Err(error) };
            failed.insert(vip);
            first.get_or_insert(error);
        }
        first.map_or(Ok(changes.len()), Err)
    }

    fn evict(&mut self, evictions: &[Eviction]) -> Result<Evicted, DataplaneError> {
        Dataplane::evict(self, evictions)
    }

    fn counters(&mut self) -> Result<BTreeMap<Pair, Counters>, DataplaneError> {
        Dataplane::counters(self)
    }

    fn inspect(&mut self) -> Result<Inspection, DataplaneError> {
        Dataplane::inspect(self)
    }

    fn settle(&mut self) -> Result<(), DataplaneError> {
        Dataplane::settle(self)
    }

    fn resync(&self) -> Duration {
        Dataplane::resync(self)
    }

    fn is_unfinished(&self) -> bool {
        Dataplane::is_unfinished(self)
    }

    fn quiesce(&mut self) -> Result<(), DataplaneError> {
        Dataplane::quiesce(self)
    }

    fn resume(&mut self) {
        Dataplane::resume(self);
    }

    fn remove(&mut self) -> Result<(), DataplaneError> {
        Dataplane::remove(self)
    }
}
