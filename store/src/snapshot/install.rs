//! Making a store from a snapshot.
//!
//! ```text
//! 1 `install` says begun        from here on nothing that was in the folder counts
//! 2 the folder is emptied
//! 3 tables, epochs, format, watermark and the first segment are written, and synced
//! 4 `install` says to P         from here on the store is there; its log is copied by whoever opens it as a follower
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmq_protocol::message::LogPosition;

use super::format::{Broken, Decoder, Item, SnapshotHeader, VERSION};
use crate::compacted;
use crate::config::StoreConfig;
use crate::epochs::Epochs;
use crate::fs::{Fs, Lock};
use crate::incarnation;
use crate::install_mark::{self, InstallMark};
use crate::layout;
use crate::open_error::OpenError;
use crate::recovery;
use crate::segment::Segment;
use crate::tables::{KeyValue, NewTables, RowsOf, TablesError};
use crate::watermark::Watermark;

/// Rows are written in transactions of about this much.
const ROWS_AT_ONCE_BYTES: usize = 4 << 20;

/// How much of the log below its tables a store is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// All that the other member has.
    All,
    /// The segment that the snapshot's position lies in.
    Newest,
    /// What lies from here on, where a segment begins, not below what the other member has.
    From(LogPosition),
}

/// Where a store stands that was made from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The log is to be copied from here on.
    pub begins: LogPosition,
    /// What the tables have; the store is incomplete until its log reaches it.
    pub position: LogPosition,
}

/// Why a store is not made. What was in the folder counts no longer once a chunk was taken: begin again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sender speaks another version.
    #[error(
        "the snapshot has format {found}, this version knows format {VERSION}: use versions of rmq in one group that know each other"
    )]
    Version {
        /// The format of the snapshot.
        found: u16,
    },
    /// It is not the next chunk, or damaged.
    #[error("chunk {number} of the snapshot is not usable: {reason}")]
    Chunk {
        /// The number of the chunk.
        number: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The sender has a table that is not declared here.
    #[error(
        "the snapshot has a table {name} that is not known here: use the version of rmq that the master has"
    )]
    Table {
        /// The table.
        name: String,
    },
    /// The segments of the other log have another size.
    #[error(
        "the segments of the other member have {theirs} bytes, and those of this one {ours}: give all members of the group the same segment size"
    )]
    SegmentSize {
        /// The size there.
        theirs: u64,
        /// The size here.
        ours: u64,
    },
    /// The snapshot has not ended.
    #[error("the snapshot ended early, before chunk {next}")]
    NotWhole {
        /// The chunk that should have followed.
        next: u64,
    },
    /// A file cannot be written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The tables cannot be written.
    #[error("the tables of the snapshot cannot be written: {reason}")]
    Tables {
        /// What failed.
        reason: String,
    },
}

impl From<TablesError> for InstallError {
    fn from(error: TablesError) -> Self {
        Self::Tables {
            reason: error.to_string(),
        }
    }
}

/// Makes a store from the chunks of a [`Snapshot`](super::Snapshot). Dropped before [`finish`](Self::finish), it leaves nothing: the next
/// start as a follower finds an empty store. Blocks.
pub struct Installer {
    config: StoreConfig,
    fs: Arc<dyn Fs>,
    history: History,
    decoder: Decoder,
    begun: Option<Begun>,
    /// Held until this ends.
    lock: Box<dyn Lock>,
}

/// What has come so far.
struct Begun {
    header: SnapshotHeader,
    tables: NewTables,
    of: Option<RowsOf>,
    rows: Vec<KeyValue>,
    row_bytes: usize,
    count: u64,
    is_whole: bool,
}

impl Installer {
    /// Takes the folder `config.dir`, which no store has open. What is there stays until the first chunk is taken: it is for the caller to
    /// know that nobody counts on it.
    ///
    /// # Errors
    /// [`InstallError::Open`]: the configuration is wrong, or somebody has the store open.
    pub fn new(
        config: StoreConfig,
        fs: Arc<dyn Fs>,
        history: History,
    ) -> Result<Self, InstallError> {
        config.validate().map_err(OpenError::from)?;
        let dir = config.dir.clone();
        fs.create_dir_all(&dir)
            .map_err(OpenError::io("create the folder", &dir))?;
        let lock = recovery::lock(&*fs, &dir)?;
        recovery::Names::begin(&*fs, &dir).settle()?;
        Ok(Self {
            config,
            fs,
            history,
            decoder: Decoder::default(),
            begun: None,
            lock,
        })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// See [`InstallError`]. This installer is of no use any more.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), InstallError> {
        let number = self.decoder.next();
        let broken = |reason| InstallError::Chunk { number, reason };
        let items = self.decoder.take(chunk).map_err(|problem| match problem {
            Broken::Version(found) => InstallError::Version { found },
            Broken::Chunk(reason) => broken(reason),
        })?;
        for item in items {
            match (item, &mut self.begun) {
                (Item::Header(header), None) => self.begun = Some(self.begin(header)?),
                (Item::Table(table), Some(begun)) if !begun.is_whole => {
                    begun.write()?;
                    if !begun.header.tables.contains(&table) {
                        return Err(broken("it has a table that its header does not name"));
                    }
                    begun.of = Some(table);
                }
                (Item::Row(row), Some(begun)) if !begun.is_whole && begun.of.is_some() => {
                    if matches!(begun.of, Some(RowsOf::InMemory(_)))
                        && std::str::from_utf8(&row.0).is_err()
                    {
                        return Err(broken("a key is no text"));
                    }
                    begun.count += 1;
                    begun.row_bytes += row.0.len() + row.1.len();
                    begun.rows.push(row);
                    if begun.row_bytes >= ROWS_AT_ONCE_BYTES {
                        begun.write()?;
                    }
                }
                (Item::End(rows), Some(begun)) if !begun.is_whole => {
                    if rows != begun.count {
                        return Err(broken("it does not have as many rows as it says"));
                    }
                    begun.write()?;
                    begun.is_whole = true;
                }
                _ => return Err(broken("its items are out of order")),
            }
        }
        Ok(())
    }

    /// The header was read: the folder is emptied.
    fn begin(&self, header: SnapshotHeader) -> Result<Begun, InstallError> {
        let (fs, dir) = (&*self.fs, &self.config.dir);
        for table in &header.tables {
            let known = |name: &str, on_disk| {
                let mut tables = compacted::with_own(&self.config.tables).into_iter();
                tables.any(|table| table.name == name && table.is_on_disk() == on_disk)
            };
            let (name, is_known) = match table {
                RowsOf::Heads => continue,
                RowsOf::InMemory(name) => (name, known(name, false)),
                RowsOf::OnDisk(name) => (name, known(name, true)),
            };
            if !is_known {
                return Err(InstallError::Table { name: name.clone() });
            }
        }
        if header.segment_bytes != self.config.segment_bytes {
            return Err(InstallError::SegmentSize {
                theirs: header.segment_bytes,
                ours: self.config.segment_bytes,
            });
        }
        let is_ordered = header.begins <= header.segment && header.segment <= header.position;
        if !is_ordered || header.epochs.is_empty() {
            return Err(InstallError::Chunk {
                number: 0,
                reason: "its header is out of order",
            });
        }
        tracing::info!(
            dir = %dir.display(),
            position = header.position.0,
            begins = header.begins.0,
            "the store is made from a snapshot; what was there is removed"
        );
        InstallMark::Begun
            .write(fs, dir)
            .map_err(io_error("write", &layout::install(dir)))?;
        fs.crash_point("install.begun");
        install_mark::wipe(fs, dir).map_err(io_error("empty", dir))?;
        fs.crash_point("install.wiped");
        Ok(Begun {
            header,
            tables: NewTables::create(fs, &layout::index(dir))?,
            of: None,
            rows: Vec::new(),
            row_bytes: 0,
            count: 0,
            is_whole: false,
        })
    }

    /// All chunks were taken: the store is there, durably.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn finish(self) -> Result<Installed, InstallError> {
        let next = self.decoder.next();
        let whole = !self.decoder.is_in_the_middle();
        let begun = self.begun.filter(|begun| begun.is_whole && whole);
        let Some(Begun { header, tables, .. }) = begun else {
            return Err(InstallError::NotWhole { next });
        };
        let (fs, dir) = (&*self.fs, &self.config.dir);
        let begins = match self.history {
            History::All => header.begins,
            History::Newest => header.segment,
            History::From(begins) => begins.clamp(header.begins, header.segment),
        };
        let position = header.position;
        tables.finish(position.0)?;
        fs.crash_point("install.tables");
        Epochs::create_from(fs, dir, header.epochs, begins.0)?;
        incarnation::create(fs, dir)?;
        recovery::write_format(fs, dir).map_err(io_error("write", &layout::format(dir)))?;
        let path = layout::watermark(dir);
        // Nothing was ever written above.
        Watermark::open(fs, &path)
            .and_then(|mut watermark| watermark.seal(begins.0))
            .map_err(io_error("write", &path))?;
        let path = layout::segment(dir, begins.0);
        Segment::create(fs, &path, begins.0, self.config.segment_bytes).map_err(OpenError::from)?;
        for folder in [&layout::log(dir), &layout::index(dir), dir] {
            fs.sync_dir(folder)
                .map_err(io_error("sync the folder", folder))?;
        }
        fs.crash_point("install.written");
        InstallMark::To(position.0)
            .write(fs, dir)
            .map_err(io_error("write", &layout::install(dir)))?;
        fs.crash_point("install.finished");
        drop(self.lock);
        Ok(Installed { begins, position })
    }
}

impl Begun {
    /// Writes the rows that have come.
    fn write(&mut self) -> Result<(), InstallError> {
        if let Some(of) = self.of.as_ref().filter(|_| !self.rows.is_empty()) {
            self.tables.put(of, &self.rows)?;
        }
        self.rows.clear();
        self.row_bytes = 0;
        Ok(())
    }
}

impl std::fmt::Debug for Installer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("dir", &self.config.dir)
            .field("next_chunk", &self.decoder.next())
            .finish_non_exhaustive()
    }
}

fn io_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> InstallError + 'a {
    move |source| InstallError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
