//! The broker's data: its store, and the right to append to it while the broker has that right.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use rmq_store::{AppendError, Master, Settings, SettingsError, Store};

/// The store of a broker. Every role reads it; only the master of the group appends. A broker becomes the master at most once in its life: one that
/// is master no more ends, and starts again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Data {
    store: Store,
    /// Empty on a replica.
    master: Arc<OnceLock<Master>>,
}

impl Data {
    /// Of a store that copies the log of a master.
    pub(crate) fn of_replica(store: &Store) -> Self {
        Self {
            store: store.clone(),
            master: Arc::default(),
        }
    }

    /// Of a store that appends.
    pub(crate) fn of_master(master: Master) -> Self {
        let data = Self::of_replica(&master);
        data.lead(master);
        data
    }

    /// From now on the broker appends. `master` is this store.
    pub(crate) fn lead(&self, master: Master) {
        // A second promotion finds the same store.
        let _ = self.master.set(master);
    }

    /// The right to append. One load: a request may ask.
    ///
    /// # Errors
    /// [`AppendError::NotMaster`]: the broker is a replica.
    pub(crate) fn master(&self) -> Result<&Master, AppendError> {
        self.master.get().ok_or(AppendError::NotMaster)
    }

    /// Settings and progress, to be changed.
    ///
    /// # Errors
    /// As [`Data::master`].
    pub(crate) fn settings(&self) -> Result<&Settings, SettingsError> {
        Ok(self.master()?.settings())
    }
}

impl Deref for Data {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("store", &self.store)
            .field("appends", &self.master.get().is_some())
            .finish()
    }
}
