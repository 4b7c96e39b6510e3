use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{AgentLock, LockError, acquire};

/// The locks of one process whose parts need the same directory: it is locked once, until the last of them lets go.
#[derive(Clone, Debug, Default)]
pub struct SharedLocks(Arc<Mutex<BTreeMap<PathBuf, Weak<AgentLock>>>>);

impl SharedLocks {
    /// As [`acquire`], but who shares these locks shares the directory's.
    ///
    /// # Errors
    /// As [`acquire`].
    pub fn acquire(&self, dir: &Path) -> Result<Arc<AgentLock>, LockError> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(dir).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        let lock = Arc::new(acquire(dir)?);
        locks.insert(dir.to_owned(), Arc::downgrade(&lock));
        Ok(lock)
    }
}
