//! Whether the store takes writes, and if not, why.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::AppendError;

/// The state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// Reads and writes.
    Writable,
    /// Reads only for now: the next segment cannot be made, for want of room, of open files, of a right. Tried again by itself.
    Refusing {
        /// The call that fails, why, and what to do.
        reason: Arc<str>,
    },
    /// Reads only, until restart: a write or sync failed, or a thread ended.
    ReadOnly {
        /// The first failure.
        reason: Arc<str>,
    },
}

const WRITABLE: u8 = 0;
const REFUSING: u8 = 1;
const READ_ONLY: u8 = 2;

pub(crate) struct Health {
    /// A copy of the state for the message path.
    quick: AtomicU8,
    state: Mutex<StoreHealth>,
    on_poison: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.get()).finish()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            quick: AtomicU8::new(WRITABLE),
            state: Mutex::new(StoreHealth::Writable),
            on_poison: OnceLock::new(),
        }
    }
}

impl Health {
    /// Calls `told` after the first failure, on the thread that met it, which may hold locks of the store.
    pub(crate) fn set_on_poison(&self, told: impl Fn() + Send + Sync + 'static) {
        // There is one log to a store, so nobody was there before.
        let _ = self.on_poison.set(Box::new(told));
    }

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
        drop(state);
        if let Some(told) = self.on_poison.get() {
            told();
        }
        AppendError::Failed { reason }
    }

    /// No messages are taken until [`accept`](Self::accept); the newest reason counts.
    pub(crate) fn refuse(&self, reason: impl Into<Arc<str>>) -> AppendError {
        let mut state = self.state.lock();
        match &*state {
            StoreHealth::ReadOnly { reason } => AppendError::ReadOnly {
                reason: Arc::clone(reason),
            },
            before => {
                let reason = reason.into();
                if *before == StoreHealth::Writable {
                    tracing::error!(%reason, "messages are refused for now");
                }
                *state = StoreHealth::Refusing {
                    reason: Arc::clone(&reason),
                };
                self.quick.store(REFUSING, Ordering::Release);
                AppendError::Refused { reason }
            }
        }
    }

    /// A segment could be made: messages are taken again.
    pub(crate) fn accept(&self) {
        if self.quick.load(Ordering::Acquire) != REFUSING {
            return;
        }
        let mut state = self.state.lock();
        if matches!(*state, StoreHealth::Refusing { .. }) {
            tracing::info!("messages are accepted again");
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

    pub(crate) fn is_read_only(&self) -> bool {
        self.quick.load(Ordering::Acquire) == READ_ONLY
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.quick.load(Ordering::Acquire) == REFUSING
    }

    /// Why messages are refused for now, if they are.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        if !self.is_refusing() {
            return None;
        }
        match &*self.state.lock() {
            StoreHealth::Refusing { reason } => Some(AppendError::Refused {
                reason: Arc::clone(reason),
            }),
            _ => None,
        }
    }
}
