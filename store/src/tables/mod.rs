//! The materialised view of settings and queue heads: one redb file, `tables`, format version 1.
//!
//! ```text
//!  table            key                                     value
//!  meta             "format"                                u64 = 1
//!                   "applied_to"                            u64: every record below this log position is in here
//!  topics, groups, consumer_offsets, delay_progress,
//!  broker_config, kv  the setting's key                     the setting's value
//!  queue_heads      topic, 0x00, queue id as u32 + 2^31 BE  next offset i64, deleted below i64, newest position + 1 u64; little-endian
//! ```
//!
//! Each seal is one durable transaction that also moves `applied_to`, so the file is always the exact state at one log position. It is
//! created with the first seal. A damaged file is put aside and its content found again by replaying the log; where the log no
//! longer reaches back to its beginning, the store refuses to open instead of starting with settings lost.

mod backend;
mod rows;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tracing::{error, info, warn};

use crate::disk_error::{DiskError, Effect};
use crate::dispatch::{LogReader, PendingChanges};
use crate::error::ReadError;
use crate::fs::{File, Fs};
use crate::health::Health;
use crate::queue::{QueueHead, QueueRef};
use crate::settings::{Change, SettingsState, Table};
use backend::{Backend, Reports, guarded};
use rows::{HEADS, LoadError, builder, check, decode_head, existing, head_key, write};

const FORMAT: u64 = 1;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// They are gone, and the log cannot bring them back.
    #[error(
        "the tables in {} are {problem}, and the log starts at {log_start} and not at 0, so topics, groups and consumer offsets changed before are lost: \
         restore the file from a backup or a replica, or start with `acceptLostSettings` to go on with what the log still holds", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The oldest position of the log.
        log_start: u64,
    },
    /// Written by another version.
    #[error("the tables in {} have format {found}, this version knows format {FORMAT}: use the version of rmq that wrote them", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format on disk.
        found: u64,
    },
    /// The system or the database reported an error.
    #[error("{doing} the tables in {} failed: {problem}", path.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What was reported.
        problem: String,
    },
}

/// The tables file.
pub(crate) struct Tables {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// `None` until the first commit.
    database: RwLock<Option<Database>>,
    applied_to: AtomicU64,
    /// The file on disk holds a complete state.
    complete: AtomicBool,
    /// What was wrong with the file when it was opened.
    note: Option<String>,
    health: Arc<Health>,
    reports: Arc<Reports>,
}

impl Tables {
    /// Opens the file, or starts over where that loses nothing (or is accepted).
    pub(crate) fn open(
        dir: &Path,
        fs: &Arc<dyn Fs>,
        log: &dyn LogReader,
        accept_lost: bool,
        health: &Arc<Health>,
    ) -> Result<Self, TablesError> {
        let tables = Self {
            fs: Arc::clone(fs),
            path: dir.join("tables"),
            database: RwLock::new(None),
            applied_to: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            note: None,
            health: Arc::clone(health),
            reports: Arc::default(),
        };
        fs.create_dir_all(dir)
            .map_err(|error| tables.failed("creating the folder of", error))?;
        let exists = fs
            .exists(&tables.path)
            .map_err(DiskError::at("look for", &tables.path))
            .map_err(|error| tables.failed("opening", error))?;
        let problem = if exists {
            match tables.load(log.start()) {
                Ok(()) => return Ok(tables),
                Err(LoadError::Format(found)) => {
                    return Err(TablesError::Format {
                        path: tables.path.clone(),
                        found,
                    });
                }
                Err(error @ LoadError::Disk { .. }) => return Err(tables.failed("opening", error)),
                Err(LoadError::Unfinished) if log.start() == 0 => return Ok(tables),
                Err(LoadError::Unfinished) => "not finished".to_owned(),
                Err(LoadError::Damaged(problem)) => problem,
            }
        } else if log.start() == 0 {
            return Ok(tables);
        } else {
            "missing".to_owned()
        };
        tables.start_over(problem, log.start(), accept_lost)
    }

    fn start_over(
        mut self,
        problem: String,
        log_start: u64,
        accept_lost: bool,
    ) -> Result<Self, TablesError> {
        if log_start > 0 {
            if !accept_lost {
                return Err(TablesError::Lost {
                    path: self.path.clone(),
                    problem,
                    log_start,
                });
            }
            error!(path = %self.path.display(), %problem, log_start, "the tables are lost, and so is what changed before the log's start; going on as configured");
        } else {
            warn!(path = %self.path.display(), %problem, "the tables are built again from the log");
        }
        // Where that cannot be told, the rename tells it.
        if self.fs.exists(&self.path).unwrap_or(true) {
            let aside = self.path.with_extension("damaged");
            self.fs
                .rename(&self.path, &aside)
                .map_err(|error| self.failed("putting aside", error))?;
            info!(path = %aside.display(), "the damaged file was put aside");
        }
        self.applied_to.store(log_start, Ordering::Release);
        self.note = Some(format!("the tables were {problem}"));
        Ok(self)
    }

    /// Opens and checks the existing file.
    fn load(&self, log_start: u64) -> Result<(), LoadError> {
        let (database, applied_to) = self.open_database()?;
        if applied_to < log_start {
            return Err(LoadError::Damaged(format!(
                "complete up to log position {applied_to} only"
            )));
        }
        *self.database.write() = Some(database);
        self.applied_to.store(applied_to, Ordering::Release);
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    fn open_database(&self) -> Result<(Database, u64), LoadError> {
        let file = self
            .fs
            .open(&self.path)
            .map_err(DiskError::at("open", &self.path))
            .map_err(|error| LoadError::Disk {
                problem: error.text(),
                is_final: error.effect() == Effect::ReadOnly,
            })?;
        let checked = guarded(|| Ok::<_, String>(check(self.backend(file))));
        let outcome = checked.unwrap_or_else(|problem| Err(LoadError::Damaged(problem)));
        match (outcome, self.reports.take()) {
            // What cannot be read is damage; an opening that could not write says nothing about what is there.
            (Err(_), Some(report)) if !report.is_read => Err(LoadError::Disk {
                problem: report.text,
                is_final: report.is_final,
            }),
            (Err(LoadError::Damaged(_)), Some(report)) => Err(LoadError::Damaged(report.text)),
            (outcome, _) => outcome,
        }
    }

    fn backend(&self, file: Box<dyn File>) -> Backend {
        Backend {
            file,
            path: self.path.clone(),
            reports: Arc::clone(&self.reports),
        }
    }

    /// What failed, in the words of the disk where it has said something.
    fn failed(&self, doing: &'static str, problem: impl Display) -> TablesError {
        let problem = match self.reports.take() {
            Some(report) => report.text,
            None => problem.to_string(),
        };
        TablesError::Failed {
            doing,
            path: self.path.clone(),
            problem,
        }
    }

    /// As [`failed`](Self::failed) once the store is open. What does not pass by itself makes the store read-only: the disk fails,
    /// heads of queues cannot be looked up any more, and what changes would pile up in memory.
    fn fails(&self, doing: &'static str, problem: impl Display) -> TablesError {
        let report = self.reports.take();
        let passes = report.as_ref().is_some_and(|report| !report.is_final);
        let error = TablesError::Failed {
            doing,
            path: self.path.clone(),
            problem: report.map_or_else(|| problem.to_string(), |report| report.text),
        };
        if !passes {
            self.health.poison(error.to_string());
        }
        error
    }

    /// As [`fails`](Self::fails), for a call that did not go through redb.
    fn fails_on(&self, doing: &'static str, error: &DiskError) -> TablesError {
        let told = self.failed(doing, error.text());
        if error.effect() == Effect::ReadOnly {
            self.health.poison(told.to_string());
        }
        told
    }

    /// What was wrong with the file when it was opened, if it had to be made again.
    pub(crate) fn note(&self) -> Option<String> {
        self.note.clone()
    }

    /// Every record below this log position is in the tables.
    pub(crate) fn applied_to(&self) -> u64 {
        self.applied_to.load(Ordering::Acquire)
    }

    /// Fills the current values from the tables.
    pub(crate) fn load_settings(&self, state: &SettingsState) -> Result<(), TablesError> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else {
            return Ok(());
        };
        let load = || -> Result<(), redb::Error> {
            let read = database.begin_read()?;
            for table in Table::ALL
                .into_iter()
                .filter(|table| *table != Table::QueueHeads)
            {
                let Some(rows) =
                    existing(read.open_table(TableDefinition::<&str, &[u8]>::new(table.name())))?
                else {
                    continue;
                };
                for row in rows.iter()? {
                    let (key, value) = row?;
                    state.update(&[Change::set(
                        table,
                        key.value(),
                        Bytes::copy_from_slice(value.value()),
                    )]);
                }
            }
            Ok(())
        };
        guarded(load).map_err(|error| self.failed("reading", error))
    }

    /// The head of a queue.
    pub(crate) fn head(&self, topic: &str, queue_id: i32) -> Result<Option<QueueHead>, ReadError> {
        self.read(topic, |database| {
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(None);
            };
            let found = heads.get(&*head_key(topic, queue_id))?;
            Ok(found.and_then(|value| decode_head(value.value())))
        })
    }

    /// The heads of every queue of a topic, by id.
    pub(crate) fn heads_of(&self, topic: &str) -> Result<Vec<(i32, QueueHead)>, ReadError> {
        self.read(topic, |database| {
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(Vec::new());
            };
            let (from, to) = (head_key(topic, i32::MIN), head_key(topic, i32::MAX));
            let mut found = Vec::new();
            for row in heads.range(&*from..=&*to)? {
                let (key, value) = row?;
                let (key, value) = (key.value(), decode_head(value.value()));
                if let (Some(id), Some(head)) = (key.last_chunk::<4>(), value) {
                    found.push(((u32::from_be_bytes(*id) ^ (1 << 31)) as i32, head));
                }
            }
            Ok(found)
        })
    }

    fn read<T: Default>(
        &self,
        topic: &str,
        look_up: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, ReadError> {
        let unreadable = |error: TablesError| ReadError::Queues {
            topic: topic.to_owned(),
            reason: error.to_string(),
        };
        if !self.complete.load(Ordering::Acquire) {
            // Nothing was written to them so far.
            return Ok(T::default());
        }
        // A failure may have closed them.
        self.reopen().map_err(unreadable)?;
        let outcome = {
            let database = self.database.read();
            match database.as_ref() {
                Some(database) => guarded(|| look_up(database)),
                None => Err("they were closed after a failure a moment ago".to_owned()),
            }
        };
        outcome.map_err(|problem| {
            let error = self.fails("reading", problem);
            self.put_down();
            unreadable(error)
        })
    }

    /// Applies everything up to a log position in one durable transaction.
    pub(crate) fn commit(
        &self,
        changes: &PendingChanges,
        heads: &[(&QueueRef, QueueHead)],
        applied_to: u64,
    ) -> Result<(), TablesError> {
        self.health
            .check_writable()
            .map_err(|error| self.failed("writing", error))?;
        if self.complete.load(Ordering::Acquire) {
            self.reopen()?;
        } else if self.database.read().is_none() {
            self.create()?;
        }
        let outcome = {
            let database = self.database.read();
            match database.as_ref() {
                Some(database) => guarded(|| write(database, changes, heads, applied_to)),
                None => Err("the file is not open".to_owned()),
            }
        };
        if let Err(problem) = outcome {
            let error = self.fails("writing", problem);
            // redb refuses everything after an I/O error (a full disk, say) until the file is opened again, by whoever needs it.
            self.put_down();
            return Err(error);
        }
        self.applied_to.store(applied_to, Ordering::Release);
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Closes the file. redb writes there when it can, and must not take anybody along when it cannot.
    fn put_down(&self) {
        let database = self.database.write().take();
        let closed = guarded(|| {
            drop(database);
            Ok::<(), String>(())
        });
        if let Err(problem) = closed {
            warn!(path = %self.path.display(), %problem, "the tables could not be closed");
        }
        // What closing has reported follows from what is told already.
        self.reports.take();
    }

    /// Creates the file; an unfinished one is overwritten.
    fn create(&self) -> Result<(), TablesError> {
        let made = self.create_database();
        match made {
            Ok(database) => {
                *self.database.write() = Some(database);
                Ok(())
            }
            Err(error) => {
                // Nothing was in it yet.
                if let Err(error) = self.fs.remove(&self.path) {
                    warn!(path = %self.path.display(), %error, "the half-made tables file cannot be removed");
                }
                Err(error)
            }
        }
    }

    fn create_database(&self) -> Result<Database, TablesError> {
        let doing = "creating";
        let file = self
            .fs
            .create(&self.path)
            .map_err(DiskError::at("create", &self.path))
            .map_err(|error| self.fails_on(doing, &error))?;
        let database = guarded(|| builder().create_with_backend(self.backend(file)))
            .map_err(|problem| self.fails(doing, problem))?;
        if let Some(dir) = self.path.parent() {
            self.fs
                .sync_dir(dir)
                .map_err(DiskError::at("sync the folder", dir))
                .map_err(|error| self.fails_on(doing, &error))?;
        }
        Ok(database)
    }

    /// Opens the file that a failure has closed.
    fn reopen(&self) -> Result<(), TablesError> {
        let doing = "opening again";
        if self.database.read().is_some() {
            return Ok(());
        }
        let mut database = self.database.write();
        if database.is_some() {
            return Ok(());
        }
        if self.reports.is_distrusted() {
            return Err(self.failed(
                doing,
                "an earlier change of the file has failed; restart the broker after the disk is repaired",
            ));
        }
        let (opened, applied_to) = self.open_database().map_err(|error| match &error {
            // Opened when there is room, or a file may be opened, again.
            LoadError::Disk {
                is_final: false, ..
            } => self.failed(doing, &error),
            _ => self.fails(doing, &error),
        })?;
        if applied_to != self.applied_to() {
            let problem = format!(
                "they hold the log up to {applied_to} and not up to {}; restart the broker",
                self.applied_to()
            );
            return Err(self.fails(doing, problem));
        }
        *database = Some(opened);
        Ok(())
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.put_down();
    }
}
