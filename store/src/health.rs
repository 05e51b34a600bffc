//! Whether the store takes writes, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::error::AppendError;

/// The state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// Reads and writes.
    Writable,
    /// Reads only, until there is room again.
    NoSpace {
        /// How full it is.
        reason: Arc<str>,
    },
    /// Reads only, until restart: a write or sync failed.
    ReadOnly {
        /// The first failure.
        reason: Arc<str>,
    },
}

const WRITABLE: u8 = 0;
const NO_SPACE: u8 = 1;
const READ_ONLY: u8 = 2;

#[derive(Debug)]
pub(crate) struct Health {
    /// A copy of the state for the message path.
    quick: AtomicU8,
    state: Mutex<StoreHealth>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            quick: AtomicU8::new(WRITABLE),
            state: Mutex::new(StoreHealth::Writable),
        }
    }
}

impl Health {
    pub(crate) fn get(&self) -> StoreHealth {
        self.state.lock().clone()
    }

    /// The first failure counts and is never taken back: after a failed sync the kernel may have dropped the data.
    pub(crate) fn poison(&self, reason: impl Into<Arc<str>>) -> AppendError {
        let mut state = self.state.lock();
        let reason = match &*state {
            StoreHealth::ReadOnly { reason } => Arc::clone(reason),
            _ => {
                let reason = reason.into();
                tracing::error!(%reason, "the store is read-only from now on");
                *state = StoreHealth::ReadOnly {
                    reason: Arc::clone(&reason),
                };
                self.quick.store(READ_ONLY, Ordering::Release);
                reason
            }
        };
        AppendError::Failed { reason }
    }

    pub(crate) fn no_space(&self, reason: impl Into<Arc<str>>) -> AppendError {
        let mut state = self.state.lock();
        match &*state {
            StoreHealth::ReadOnly { reason } => AppendError::ReadOnly {
                reason: Arc::clone(reason),
            },
            before => {
                let reason = reason.into();
                if *before == StoreHealth::Writable {
                    tracing::error!(%reason, "no space: writes are refused until there is room");
                }
                *state = StoreHealth::NoSpace {
                    reason: Arc::clone(&reason),
                };
                self.quick.store(NO_SPACE, Ordering::Release);
                AppendError::NoSpace { reason }
            }
        }
    }

    /// There is room again.
    pub(crate) fn has_space(&self) {
        if self.quick.load(Ordering::Acquire) != NO_SPACE {
            return;
        }
        let mut state = self.state.lock();
        if matches!(*state, StoreHealth::NoSpace { .. }) {
            tracing::info!("there is space again: writes are accepted");
            *state = StoreHealth::Writable;
            self.quick.store(WRITABLE, Ordering::Release);
        }
    }

    /// Whether nothing may be written any more.
    pub(crate) fn check_writable(&self) -> Result<(), AppendError> {
        if self.quick.load(Ordering::Acquire) != READ_ONLY {
            return Ok(());
        }
        match &*self.state.lock() {
            StoreHealth::ReadOnly { reason } => Err(AppendError::ReadOnly {
                reason: Arc::clone(reason),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_out_of_space(&self) -> bool {
        self.quick.load(Ordering::Acquire) == NO_SPACE
    }
}
