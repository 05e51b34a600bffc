//! Copies of this broker's data that are being taken: what each of them still needs, and how far it has come.
//!
//! Whoever takes a copy asks for one part after the other. A copy that nobody asks for any more ends by itself, and with it its claim on tables and
//! log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::{LogPiece, ReadError, Snapshot, SnapshotError, SnapshotHeader, Store};
use thiserror::Error;

/// The longest part of the log in one answer, bytes.
pub(crate) const PART_BYTES_MAX: usize = 4 << 20;

/// Why a part of a copy is not given.
#[derive(Debug, Error)]
pub(crate) enum BackupRefusal {
    #[error(
        "this broker is not to be copied (backupsMax 0): copy another member of its group, or set backupsMax"
    )]
    Off,
    #[error(
        "this broker is being copied {0} times already (backupsMax): wait until one has ended, or copy another member of its group"
    )]
    Busy(usize),
    #[error(
        "there is no copy {id:?}: nobody has asked for it for {idle_ms} ms (backupIdleMs), or this broker has started again since; begin another one, which continues where this one was"
    )]
    Gone { id: String, idle_ms: i64 },
    #[error("chunk {asked} of the tables is not the next one, which is {next}")]
    Order { asked: i64, next: u64 },
    #[error(
        "position {from} is outside of the copy, which has the log from {begins} to {position}"
    )]
    Outside {
        from: i64,
        begins: u64,
        position: u64,
    },
    #[error("no copy can be taken of this broker: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("the log cannot be read: {0}; copy another member of the group")]
    Read(#[from] ReadError),
}

/// The copies that are being taken.
#[derive(Debug)]
pub(crate) struct Backups {
    max: usize,
    idle_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    running: Vec<Arc<Backup>>,
}

/// A copy that is being taken.
#[derive(Debug)]
struct Backup {
    id: String,
    /// Nothing of the log from here on may be removed.
    needed_from: AtomicU64,
    /// When somebody asked for it last, monotonic milliseconds.
    asked_ms: AtomicI64,
    /// One part is read at a time.
    parts: Mutex<Parts>,
}

/// What is asked of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    /// Nothing below is needed any more.
    pub(crate) needed: i64,
    /// At most so many.
    pub(crate) bytes: i32,
}

#[derive(Debug, Default)]
struct Parts {
    begins: u64,
    position: u64,
    /// `None`: not taken yet, or all of it was given.
    tables: Option<Snapshot>,
    /// The number of the next chunk.
    next: u64,
    /// The chunk before that one.
    last: Vec<u8>,
}

impl Backups {
    pub(crate) fn new(max: usize, idle_ms: i64) -> Self {
        Self {
            max,
            idle_ms,
            state: Mutex::default(),
        }
    }

    /// Begins a copy of what is confirmed in the store. Returns its name and what it has. May wait for the disk.
    ///
    /// # Errors
    /// See [`BackupRefusal`].
    pub(crate) fn begin(
        &self,
        store: &Store,
        (now_ms, wall_ms): (i64, i64),
    ) -> Result<(String, SnapshotHeader), BackupRefusal> {
        let backup = {
            let mut state = self.state.lock();
            self.end_idle(&mut state, now_ms);
            match state.running.len() {
                _ if self.max == 0 => return Err(BackupRefusal::Off),
                running if running >= self.max => return Err(BackupRefusal::Busy(running)),
                _ => {}
            }
            state.begun += 1;
            let backup = Arc::new(Backup {
                id: format!("{wall_ms:x}-{}", state.begun),
                // Until it is known where the copy begins.
                needed_from: AtomicU64::new(0),
                asked_ms: AtomicI64::new(now_ms),
                parts: Mutex::default(),
            });
            state.running.push(Arc::clone(&backup));
            backup
        };
        let snapshot = store.snapshot().inspect_err(|_| self.end(&backup.id))?;
        let header = snapshot.header().clone();
        let mut parts = backup.parts.lock();
        parts.begins = header.begins.0;
        parts.position = header.position.0;
        parts.tables = Some(snapshot);
        drop(parts);
        backup.needed_from.store(header.begins.0, Ordering::Release);
        Ok((backup.id.clone(), header))
    }

    /// A chunk of the tables; empty behind the last one. May wait for the disk.
    ///
    /// # Errors
    /// See [`BackupRefusal`].
    pub(crate) fn tables(
        &self,
        id: &str,
        chunk: i64,
        now_ms: i64,
    ) -> Result<Vec<u8>, BackupRefusal> {
        let backup = self.find(id, now_ms)?;
        let mut parts = backup.parts.lock();
        let next = parts.next;
        match u64::try_from(chunk) {
            Ok(chunk) if chunk == next => {}
            // The answer was lost.
            Ok(chunk) if chunk + 1 == next => return Ok(parts.last.clone()),
            _ => return Err(BackupRefusal::Order { asked: chunk, next }),
        }
        let bytes = match &mut parts.tables {
            Some(tables) => tables.next_chunk()?.unwrap_or_default(),
            None => Vec::new(),
        };
        if bytes.is_empty() {
            parts.tables = None;
        }
        parts.last.clone_from(&bytes);
        parts.next += 1;
        backup.asked_ms.fetch_max(now_ms, Ordering::AcqRel);
        Ok(bytes)
    }

    /// Some of the log; `None` where the copy ends. May wait for the disk.
    ///
    /// # Errors
    /// See [`BackupRefusal`].
    pub(crate) fn log(
        &self,
        store: &Store,
        id: &str,
        asked: Stretch,
        now_ms: i64,
    ) -> Result<Option<LogPiece>, BackupRefusal> {
        let Stretch {
            from,
            needed,
            bytes,
        } = asked;
        let backup = self.find(id, now_ms)?;
        let parts = backup.parts.lock();
        let (begins, position) = (parts.begins, parts.position);
        let at = u64::try_from(from).ok();
        let at = at.filter(|at| (begins..=position).contains(at));
        let Some(at) = at else {
            return Err(BackupRefusal::Outside {
                from,
                begins,
                position,
            });
        };
        let needed = u64::try_from(needed).unwrap_or(0).min(at);
        backup.needed_from.fetch_max(needed, Ordering::AcqRel);
        let bytes = usize::try_from(bytes).unwrap_or(0).min(PART_BYTES_MAX);
        Ok(store.log_piece_aside(LogPosition(position), LogPosition(at), bytes)?)
    }

    /// Ends a copy, if it has not ended.
    pub(crate) fn end(&self, id: &str) {
        self.state.lock().running.retain(|backup| backup.id != id);
    }

    /// Ends all copies: the store is closed next.
    pub(crate) fn end_all(&self) {
        self.state.lock().running.clear();
    }

    /// From where on nothing of the log may be removed.
    pub(crate) fn needed_from(&self, now_ms: i64) -> Option<u64> {
        let mut state = self.state.lock();
        self.end_idle(&mut state, now_ms);
        let needed = state.running.iter();
        needed
            .map(|backup| backup.needed_from.load(Ordering::Acquire))
            .min()
    }

    fn find(&self, id: &str, now_ms: i64) -> Result<Arc<Backup>, BackupRefusal> {
        let mut state = self.state.lock();
        self.end_idle(&mut state, now_ms);
        let found = state.running.iter().find(|backup| backup.id == id);
        let found = found.cloned().ok_or_else(|| BackupRefusal::Gone {
            id: id.to_owned(),
            idle_ms: self.idle_ms,
        })?;
        found.asked_ms.fetch_max(now_ms, Ordering::AcqRel);
        Ok(found)
    }

    fn end_idle(&self, state: &mut State, now_ms: i64) {
        state.running.retain(|backup| {
            let idle_ms = now_ms - backup.asked_ms.load(Ordering::Acquire);
            let stays = idle_ms < self.idle_ms;
            if !stays {
                tracing::warn!(
                    backup = backup.id,
                    idle_ms,
                    "nobody asks for this copy of the data any more: it has ended"
                );
            }
            stays
        });
    }
}
