//! The parts of the log, and its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::acks::Acks;
use super::files::Files;
use super::flush::Flush;
use super::following::Following;
use super::staging::{Staging, Writer};
use super::takers::Takers;
use crate::config::StoreConfig;
use crate::derived::Dispatcher;
use crate::error::AppendError;
use crate::read::resident::Resident;

/// What a store is to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It gives messages their places. All it has is confirmed when it is opened.
    Master,
    /// It copies another log. What is confirmed is told.
    Follower,
}

pub(crate) struct CommitLog {
    pub(crate) config: StoreConfig,
    /// Milliseconds that messages are kept; it can change.
    pub(crate) retention_ms: AtomicI64,
    /// Largest body that is taken; it can change.
    pub(crate) body_bytes_max: AtomicUsize,
    pub(crate) files: Arc<Files>,
    pub(crate) dispatcher: Dispatcher,
    /// What readers found in memory.
    pub(crate) resident: Resident,
    pub(super) append: Mutex<Staging>,
    pub(super) write: Mutex<Writer>,
    pub(super) acks: Acks,
    pub(super) flush: Flush,
    pub(super) following: Following,
    pub(crate) takers: Takers,
}

impl CommitLog {
    /// A log that continues at the end of `files`. The tables of a follower may be ahead of it: `incomplete_below`.
    pub(crate) fn new(
        config: StoreConfig,
        files: Arc<Files>,
        dispatcher: Dispatcher,
        flush: Flush,
        role: Role,
        incomplete_below: Option<u64>,
    ) -> Self {
        let staging = Staging::new(&files);
        let following = match role {
            Role::Master => Following::default(),
            Role::Follower => {
                let newest_ms = files.positions.newest_ms.load(Ordering::Acquire);
                Following::from(dispatcher.dispatched(), newest_ms, incomplete_below)
            }
        };
        Self {
            retention_ms: AtomicI64::new(config.retention_ms),
            body_bytes_max: AtomicUsize::new(config.body_bytes_max),
            config,
            files,
            dispatcher,
            resident: Resident::new(),
            append: Mutex::new(staging),
            write: Mutex::default(),
            acks: Acks::default(),
            flush,
            following,
            takers: Takers::default(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.config.now_ms)()
    }

    /// Nothing is appended any more; what is staged gets written and synced.
    pub(crate) fn close(&self) -> Result<(), AppendError> {
        self.append.lock().closed.get_or_insert(AppendError::Closed);
        self.flush.stop();
        let end = self.write_and_sync();
        self.acks
            .end(end.as_ref().err().unwrap_or(&AppendError::Closed));
        end.map(|_| ())
    }

    /// Ends without writing, as a killed process would. Nobody who still has this log writes it afterwards.
    pub(crate) fn abandon(&self) {
        {
            let mut staging = self.append.lock();
            staging.give_up();
            // Else whoever writes for others would wait for what is never written.
            let appended = &self.files.positions.appended;
            appended.store(staging.next(), Ordering::Release);
        }
        self.flush.stop();
        // Whoever is writing ends first.
        drop(self.write.lock());
        self.acks.end(&AppendError::Closed);
    }

    /// From now on nothing is appended, confirmed or acknowledged. What is appended gets written.
    pub(super) fn fence(&self, reason: Arc<str>) {
        let error = AppendError::Fenced { reason };
        self.files.positions.fence();
        self.append
            .lock()
            .closed
            .get_or_insert_with(|| error.clone());
        self.acks.fence(&error);
    }

    /// See [`Store::incomplete_below`](crate::Store::incomplete_below).
    pub(crate) fn incomplete_below(&self) -> Option<u64> {
        self.following.incomplete_below()
    }

    /// Segments that end above this position are not removed, however old they are.
    pub(crate) fn expires_below(&self) -> u64 {
        self.following.expires_below()
    }

    pub(crate) fn seal_watermark(&self) -> io::Result<()> {
        self.flush.seal_watermark(&self.files)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.config.dir
    }
}
