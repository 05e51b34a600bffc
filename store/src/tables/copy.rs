//! All rows at one log position: looked at for a snapshot, and written from one.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase};

use super::backend::{Backend, Reports, guarded};
use super::error::TablesError;
use super::file::Tables;
use super::rows::{FORMAT, HEADS, META, builder, existing, in_memory, on_disk};
use crate::disk_error::DiskError;
use crate::fs::Fs;

/// The rows of a table as they lie on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowsOf {
    /// Heads of queues.
    Heads,
    /// A declared table in memory.
    InMemory(String),
    /// A declared table on disk.
    OnDisk(String),
}

/// A key and its value.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// All rows at one log position, whatever is written meanwhile. The file keeps what has changed since, for as long as this lives.
pub(crate) struct Look {
    /// `None`: nothing was ever written.
    read: Option<ReadTransaction>,
    /// Every record below is in the rows.
    pub(crate) applied_to: u64,
}

impl Tables {
    /// A look at everything that is on the disk now.
    pub(crate) fn look_at_all(&self) -> Result<Look, TablesError> {
        let found = self.read(|database| {
            let read = database.begin_read()?;
            let applied_to = match existing(read.open_table(META))? {
                Some(meta) => meta.get("applied_to")?.map(|value| value.value()),
                None => None,
            };
            Ok(applied_to.map(|applied_to| (read, applied_to)))
        })?;
        Ok(match found {
            Some((read, applied_to)) => Look {
                read: Some(read),
                applied_to,
            },
            None => Look {
                read: None,
                applied_to: self.applied_to(),
            },
        })
    }

    /// The rows of a table that follow a key, as many as `bytes_max` holds, or one; none: the table ends.
    pub(crate) fn rows_behind(
        &self,
        look: &Look,
        of: &RowsOf,
        key: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, TablesError> {
        let Some(read) = &look.read else {
            return Ok(Vec::new());
        };
        let mut found: Vec<KeyValue> = Vec::new();
        let mut bytes = 0;
        let mut take = |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            let fits = found.is_empty() || bytes <= bytes_max;
            if fits {
                found.push((key.to_vec(), value.to_vec()));
            }
            fits
        };
        let outcome = guarded(|| -> Result<(), redb::Error> {
            match of {
                RowsOf::InMemory(name) => {
                    let Some(rows) = existing(read.open_table(in_memory(name)))? else {
                        return Ok(());
                    };
                    // Keys were written as text.
                    let key = key.map(String::from_utf8_lossy);
                    let from = key.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    for row in rows.range::<&str>((from, Bound::Unbounded))? {
                        let (key, value) = row?;
                        if !take(key.value().as_bytes(), value.value()) {
                            break;
                        }
                    }
                }
                RowsOf::Heads | RowsOf::OnDisk(_) => {
                    let table = match of {
                        RowsOf::OnDisk(name) => on_disk(name),
                        _ => HEADS,
                    };
                    let Some(rows) = existing(read.open_table(table))? else {
                        return Ok(());
                    };
                    let from = key.map_or(Bound::Unbounded, Bound::Excluded);
                    for row in rows.range::<&[u8]>((from, Bound::Unbounded))? {
                        let (key, value) = row?;
                        if !take(key.value(), value.value()) {
                            break;
                        }
                    }
                }
            }
            Ok(())
        });
        outcome.map_err(|problem| self.failed("reading", problem))?;
        Ok(found)
    }
}

/// The tables file of a store that is being made from a snapshot.
pub(crate) struct NewTables {
    database: Option<Database>,
    path: PathBuf,
    reports: Arc<Reports>,
}

impl NewTables {
    /// Makes the file in the folder of the index; what has its name is gone.
    pub(crate) fn create(fs: &dyn Fs, dir: &Path) -> Result<Self, TablesError> {
        let path = dir.join("tables");
        let mut tables = Self {
            database: None,
            path: path.clone(),
            reports: Arc::default(),
        };
        let file = fs
            .create(&path)
            .map_err(DiskError::at("create", &path))
            .map_err(|error| tables.failed("creating", error.text()))?;
        let backend = Backend {
            file,
            path: path.clone(),
            reports: Arc::clone(&tables.reports),
        };
        let database = guarded(|| builder().create_with_backend(backend))
            .map_err(|problem| tables.failed("creating", problem))?;
        fs.sync_dir(dir)
            .map_err(DiskError::at("sync the folder", dir))
            .map_err(|error| tables.failed("creating", error.text()))?;
        tables.database = Some(database);
        Ok(tables)
    }

    /// Adds rows; they are durable with [`finish`](Self::finish).
    pub(crate) fn put(&self, of: &RowsOf, rows: &[KeyValue]) -> Result<(), TablesError> {
        self.write(Durability::None, |transaction| {
            match of {
                RowsOf::InMemory(name) => {
                    let mut table = transaction.open_table(in_memory(name))?;
                    for (key, value) in rows {
                        // Checked before.
                        if let Ok(key) = std::str::from_utf8(key) {
                            table.insert(key, &**value)?;
                        }
                    }
                }
                RowsOf::Heads | RowsOf::OnDisk(_) => {
                    let mut table = transaction.open_table(match of {
                        RowsOf::OnDisk(name) => on_disk(name),
                        _ => HEADS,
                    })?;
                    for (key, value) in rows {
                        table.insert(&**key, &**value)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The rows are all there, durably: they are those at a log position.
    pub(crate) fn finish(mut self, applied_to: u64) -> Result<(), TablesError> {
        self.write(Durability::Immediate, |transaction| {
            // A seal writes this one as well, and look-ups expect it.
            transaction.open_table(HEADS)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT)?;
            meta.insert("applied_to", applied_to)?;
            Ok(())
        })?;
        let database = self.database.take();
        guarded(|| {
            drop(database);
            Ok::<(), String>(())
        })
        .map_err(|problem| self.failed("closing", problem))?;
        match self.reports.take() {
            None => Ok(()),
            Some(report) => Err(self.failed("closing", report.text)),
        }
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), TablesError> {
        let Some(database) = &self.database else {
            return Err(self.failed("writing", "the file is not open"));
        };
        guarded(|| -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
        .map_err(|problem| self.failed("writing", problem))
    }

    fn failed(&self, doing: &'static str, problem: impl std::fmt::Display) -> TablesError {
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
}

impl Drop for NewTables {
    fn drop(&mut self) {
        // Given up in the middle: what redb says about it is of no use.
        let database = self.database.take();
        let _ = guarded(|| {
            drop(database);
            Ok::<(), String>(())
        });
    }
}
