//! The tables file: opened, written, and put down when it fails.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::Database;
use tracing::{error, info, warn};

use super::backend::{Backend, Reports, guarded};
use super::compacted::InUse;
use super::error::TablesError;
use super::pending::Pending;
use super::rows::{LoadError, builder, check, forget_light, write};
use crate::compacted::COMPACTED_KEYS;
use crate::disk_error::{DiskError, Effect};
use crate::fs::{File, Fs};
use crate::health::Health;
use crate::log_reader::LogReader;
use crate::queue::{QueueHead, QueueRef};
use crate::settings::Declared;

/// The tables file.
pub(crate) struct Tables {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// `None` until the first commit.
    pub(super) database: RwLock<Option<Database>>,
    applied_to: AtomicU64,
    /// The store is closed.
    is_closed: AtomicBool,
    /// The file on disk holds a complete state.
    pub(super) complete: AtomicBool,
    /// What was wrong with the file when it was opened.
    note: Option<String>,
    pub(super) declared: Arc<Declared>,
    /// What there is of compaction topics.
    pub(super) compacted: InUse,
    pub(super) health: Arc<Health>,
    reports: Arc<Reports>,
}

impl Tables {
    /// Opens the file, or starts over where that loses nothing (or is accepted).
    pub(crate) fn open(
        dir: &Path,
        fs: &Arc<dyn Fs>,
        log: &dyn LogReader,
        accept_lost: bool,
        declared: &Arc<Declared>,
        health: &Arc<Health>,
    ) -> Result<Self, TablesError> {
        let tables = Self {
            fs: Arc::clone(fs),
            path: dir.join("tables"),
            database: RwLock::new(None),
            applied_to: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            note: None,
            declared: Arc::clone(declared),
            compacted: InUse::default(),
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
            match tables.open_existing(log.start()) {
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
    fn open_existing(&self, log_start: u64) -> Result<(), LoadError> {
        let (database, applied_to) = self.open_database()?;
        if applied_to < log_start {
            return Err(LoadError::Damaged(format!(
                "complete up to log position {applied_to} only"
            )));
        }
        guarded(|| self.find_compacted(&database)).map_err(LoadError::Damaged)?;
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
    pub(super) fn failed(&self, doing: &'static str, problem: impl Display) -> TablesError {
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
    pub(super) fn fails(&self, doing: &'static str, problem: impl Display) -> TablesError {
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

    /// Applies everything up to a log position in one durable transaction.
    pub(crate) fn commit(
        &self,
        changes: &Pending,
        heads: &[(&QueueRef, QueueHead)],
        applied_to: u64,
    ) -> Result<(), TablesError> {
        self.change(|database| write(database, &self.declared, changes, heads, applied_to))?;
        if changes.on_disk.contains_key(&COMPACTED_KEYS) {
            self.note_compacted();
        }
        self.applied_to.store(applied_to, Ordering::Release);
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes the heads of light queues, and says where such a queue begins from now on, in one durable transaction. They were committed before.
    pub(crate) fn forget_light_heads(
        &self,
        topics: &[Box<str>],
        begin: i64,
    ) -> Result<(), TablesError> {
        self.change(|database| forget_light(database, topics, begin))
    }

    fn change(
        &self,
        change: impl FnOnce(&Database) -> Result<(), redb::Error>,
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
                Some(database) => guarded(|| change(database)),
                None => Err("the file is not open".to_owned()),
            }
        };
        outcome.map_err(|problem| {
            let error = self.fails("writing", problem);
            // redb refuses everything after an I/O error (a full disk, say) until the next call that needs the file opens it again.
            self.put_down();
            error
        })
    }

    /// Closes the file for good: whoever still has the store must not write where another has opened it.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.put_down();
    }

    /// As [`close`](Self::close), and nothing is written, as by a process that is killed.
    pub(crate) fn abandon(&self) {
        self.reports.give_up();
        self.close();
    }

    /// Closes the file. redb writes there when it can, and must not take anybody along when it cannot.
    pub(super) fn put_down(&self) {
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
        if self.is_closed.load(Ordering::Acquire) {
            return Err(self.failed("creating", "the store is closed"));
        }
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
    pub(super) fn reopen(&self) -> Result<(), TablesError> {
        let doing = "opening again";
        if self.database.read().is_some() {
            return Ok(());
        }
        let mut database = self.database.write();
        if database.is_some() {
            return Ok(());
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(self.failed(doing, "the store is closed"));
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
