//! Making a store of a backup, for a broker that has none.
//!
//! ```text
//! 1 `restoring` is in the folder    from here on nothing in it counts: the next run removes it
//! 2 tables, then the log, record by record, as a replica takes them from its master
//! 3 an epoch begins                 what is written from now on is never taken for what the old group wrote
//! 4 the store is opened as a broker opens it
//! 5 `restoring` goes
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use rmq_protocol::message::LogPosition;
use rmq_store::fs::RealFs;
use rmq_store::{
    AppendError, CopyError, Follower, History, InstallError, Installer, Master, OpenError,
    PromoteError, ReadError, StoreConfig,
};
use tokio::sync::mpsc::{Receiver, channel};

use crate::fault::Fault;
use crate::manifest::{Manifest, PartOf};
use crate::place::{Place, PlaceError};
use crate::progress::Progress;
use crate::verify::{check_part, check_tables, chunks};

/// The note in a folder that a store is being made in it.
const NOTE: &str = "restoring";
/// A file that every store has.
const FORMAT: &str = "format";
/// What may be in an empty folder: a file system's own.
const OF_FILE_SYSTEM: &str = "lost+found";
/// Bytes that are copied into the log at once, but for a record that is longer.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes after which the log is dispatched: while they are in memory.
const CONFIRM_BYTES: u64 = 32 << 20;

/// A store that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Its log begins here.
    pub begins: LogPosition,
    /// Its log ends here.
    pub end: LogPosition,
    /// Records of the log.
    pub records: u64,
    /// The epoch that began.
    pub epoch: u64,
}

/// Why there is no store. The folder is empty again, or the next run empties it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup cannot be read.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The backup is damaged.
    #[error("the backup is damaged: {0}")]
    Damaged(Fault),
    /// The folder has something.
    #[error("{} is not empty: it has {found:?}; name an empty folder, or a new one", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// Something that it has.
        found: String,
    },
    /// The folder cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Folder {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The tables are not taken.
    #[error("the tables are not restored: {0}")]
    Tables(#[from] InstallError),
    /// The store does not open.
    #[error("the restored store does not open: {0}")]
    Open(#[from] OpenError),
    /// A piece of the log is not taken.
    #[error("the log is not restored: {0}")]
    Copy(#[from] CopyError),
    /// The log is not written.
    #[error("the log is not restored: {0}")]
    Write(#[from] AppendError),
    /// The log is not read back.
    #[error("the log is not restored: {0}")]
    Read(#[from] ReadError),
    /// No epoch begins.
    #[error("the log is not restored: {0}")]
    Epoch(#[from] rmq_store::EpochError),
    /// The store does not become that of a master.
    #[error("the store is not that of a master: {0}")]
    Promote(#[from] PromoteError),
    /// The store is not what the backup says.
    #[error("the restored store {0}: report this")]
    Other(String),
}

/// What comes out of the place.
enum Item {
    Tables(Bytes),
    Part(PartOf, Bytes),
}

/// Makes a store of a backup in the folder `config.dir`, which is empty or new. `config` is what the broker of that folder opens it with; the size of
/// segments is that of the backup.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore(
    place: &Place,
    backup: &Manifest,
    mut config: StoreConfig,
    progress: &dyn Progress,
) -> Result<Restored, RestoreError> {
    config.segment_bytes = backup.segment_bytes;
    let folder = config.dir.clone();
    take_folder(&folder, &backup.id)?;
    progress.begins("restore", backup.bytes());
    let (sender, receiver) = channel(1);
    let manifest = backup.clone();
    let full = {
        let place = place.clone();
        move |name: &str| place.full(name)
    };
    let making = tokio::task::spawn_blocking(move || make(&config, &manifest, receiver, &full));
    let sent = async {
        for table in &backup.tables {
            let name = backup.tables_name(&table.name);
            let file = get(place, &name).await?;
            progress.moved(file.len() as u64);
            if sender.send(Item::Tables(file)).await.is_err() {
                return Ok(());
            }
        }
        for part in &backup.log {
            let name = backup.part_name(part);
            let file = get(place, &name).await?;
            progress.moved(file.len() as u64);
            if sender.send(Item::Part(part.clone(), file)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
    .await;
    drop(sender);
    let made = making.await;
    let made = made.unwrap_or_else(|error| Err(RestoreError::Other(error.to_string())));
    // What could not be read comes first: without it nothing is whole.
    let restored = sent.and(made);
    let cleaned = match &restored {
        Ok(_) => leave_folder(&folder),
        Err(_) => empty(&folder),
    };
    match (restored, cleaned) {
        (Ok(restored), Ok(())) => Ok(restored),
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

async fn get(place: &Place, name: &str) -> Result<Bytes, RestoreError> {
    match place.storage().get(name).await {
        Err(PlaceError::Missing { .. }) => Err(RestoreError::Damaged(Fault::new(
            place.full(name),
            "it is missing",
        ))),
        found => Ok(found?),
    }
}

fn on<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RestoreError + use<'a> {
    move |source| RestoreError::Folder {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Whether the folder has a store that is whole, not one that an interrupted restore has left.
#[must_use]
pub fn has_store(folder: &Path) -> bool {
    folder.join(FORMAT).is_file() && !folder.join(NOTE).exists()
}

/// Takes an empty folder, or one that an earlier run has taken and not left.
fn take_folder(folder: &Path, id: &str) -> Result<(), RestoreError> {
    fs::create_dir_all(folder).map_err(on("make", folder))?;
    let note = folder.join(NOTE);
    if note.try_exists().map_err(on("look for", &note))? {
        empty(folder)?;
    }
    for entry in fs::read_dir(folder).map_err(on("read", folder))? {
        let name = entry.map_err(on("read", folder))?.file_name();
        if name != OF_FILE_SYSTEM {
            return Err(RestoreError::NotEmpty {
                folder: folder.to_owned(),
                found: name.display().to_string(),
            });
        }
    }
    let write = || {
        fs::write(&note, format!("backup {id}\n"))?;
        fs::File::open(&note)?.sync_all()?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(on("write", &note))
}

/// Removes everything, the note last.
fn empty(folder: &Path) -> Result<(), RestoreError> {
    for entry in fs::read_dir(folder).map_err(on("read", folder))? {
        let entry = entry.map_err(on("read", folder))?;
        let (name, path) = (entry.file_name(), entry.path());
        if name == OF_FILE_SYSTEM || name == NOTE {
            continue;
        }
        let is_folder = entry.file_type().map_err(on("look at", &path))?.is_dir();
        let removed = match is_folder {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(on("remove", &path))?;
    }
    leave_folder(folder)
}

fn leave_folder(folder: &Path) -> Result<(), RestoreError> {
    let note = folder.join(NOTE);
    let leave = || {
        fs::File::open(folder)?.sync_all()?;
        fs::remove_file(&note)?;
        fs::File::open(folder)?.sync_all()
    };
    leave().map_err(on("remove", &note))
}

/// Makes the store of what comes. Blocks.
fn make(
    config: &StoreConfig,
    backup: &Manifest,
    mut items: Receiver<Item>,
    full: &dyn Fn(&str) -> String,
) -> Result<Restored, RestoreError> {
    let fs = || Arc::new(RealFs);
    let damaged = |name: String, says: String| RestoreError::Damaged(Fault::new(full(&name), says));
    let history = History::From(LogPosition(backup.begins));
    let mut installer = Installer::new(config.clone(), fs(), history)?;
    for table in &backup.tables {
        let Some(Item::Tables(file)) = items.blocking_recv() else {
            return Err(ended());
        };
        let wrong = |says| damaged(backup.tables_name(&table.name), says);
        check_tables(&file, table.bytes, &table.sha256).map_err(wrong)?;
        for chunk in chunks(&file) {
            installer.take(chunk.map_err(|says| wrong(says.to_owned()))?)?;
        }
    }
    let installed = installer.finish()?;
    if installed.begins.0 != backup.begins || installed.position.0 != backup.position {
        return Err(RestoreError::Other(format!(
            "begins at {} with tables at {}, and the backup at {} with tables at {}",
            installed.begins, installed.position, backup.begins, backup.position
        )));
    }
    let (follower, _) = Follower::open(config.clone(), fs())?;
    let made = fill(&follower, backup, &mut items, &damaged);
    let records = match made {
        Ok(records) => records,
        Err(error) => {
            follower.abandon();
            return Err(error);
        }
    };
    let epoch = follower.epoch() + 1;
    let master = follower.promote(epoch)?;
    master.close()?;
    drop(master);
    let restored = Restored {
        begins: LogPosition(backup.begins),
        end: LogPosition(backup.position),
        records,
        epoch,
    };
    look(config, restored)
}

fn ended() -> RestoreError {
    RestoreError::Other("was not read to its end".to_owned())
}

/// Copies the log. Returns the number of records.
fn fill(
    follower: &Follower,
    backup: &Manifest,
    items: &mut Receiver<Item>,
    damaged: &dyn Fn(String, String) -> RestoreError,
) -> Result<u64, RestoreError> {
    let mut next = backup.epochs.iter();
    let mut next = next
        .by_ref()
        .filter(|epoch| epoch.number > follower.epoch());
    let mut epoch = next.next();
    let mut records = 0;
    let mut confirmed = backup.begins;
    for _ in &backup.log {
        let Some(Item::Part(part, file)) = items.blocking_recv() else {
            return Err(ended());
        };
        let checked = check_part(&file, &part);
        let (bytes, count) = checked.map_err(|says| damaged(backup.part_name(&part), says))?;
        records += count;
        let (mut at, mut rest) = (part.from, bytes);
        while !rest.is_empty() {
            while let Some(begins) = epoch.filter(|epoch| epoch.first == at) {
                follower.begin_epoch(begins.number, LogPosition(begins.first))?;
                epoch = next.next();
            }
            let room = epoch.map_or(u64::MAX, |epoch| epoch.first - at);
            let room = PIECE_BYTES.min(usize::try_from(room).unwrap_or(usize::MAX));
            let piece = records_within(rest, room);
            rest = rest.get(piece.len()..).unwrap_or_default();
            let end = follower.copy(LogPosition(at), piece)?;
            stored(follower, end)?;
            at = end.0;
            if at - confirmed >= CONFIRM_BYTES {
                follower.confirm(end)?;
                confirmed = at;
            }
        }
        if at != part.to {
            return Err(RestoreError::Other(format!(
                "ends at {at} after a part that ends at {}",
                part.to
            )));
        }
    }
    while let Some(begins) = epoch {
        // It has no bytes yet.
        follower.begin_epoch(begins.number, LogPosition(begins.first))?;
        epoch = next.next();
    }
    follower.confirm(LogPosition(backup.position))?;
    Ok(records)
}

/// Whole records of at most `room` bytes, or one that is longer; the filler goes with what stands before it when both fit.
fn records_within(bytes: &[u8], room: usize) -> &[u8] {
    let mut end = 0;
    while let Some(size) = bytes.get(end..).and_then(|rest| rest.first_chunk::<4>()) {
        let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(0);
        // A filler says how much it leaves, which is more than there is.
        let next = (end + size).min(bytes.len());
        if next > room && end > 0 || next <= end {
            break;
        }
        end = next;
    }
    bytes.get(..end).unwrap_or(bytes)
}

/// Waits until the log is stored.
fn stored(follower: &Follower, end: LogPosition) -> Result<(), AppendError> {
    if let Some(stored) = follower.try_store(end) {
        return stored;
    }
    let (done, wait) = mpsc::channel();
    follower.store(
        end,
        Box::new(move |outcome| {
            // Nobody waits when the store was given up.
            let _ = done.send(outcome);
        }),
    );
    wait.recv().unwrap_or(Err(AppendError::Closed))
}

/// Opens the store as a broker does and looks whether it is what it should be. After a follower's life the first master begins another epoch.
fn look(config: &StoreConfig, expected: Restored) -> Result<Restored, RestoreError> {
    let (store, report) = Master::open(config.clone(), Arc::new(RealFs))?;
    let positions = store.positions();
    let closed = store.close();
    let found = (positions.min, positions.confirmed);
    let wanted = (expected.begins.0, expected.end.0);
    let epoch = store.epoch();
    if found != wanted || epoch < expected.epoch || !report.damaged.is_empty() {
        return Err(RestoreError::Other(format!(
            "begins, ends and has the epoch {:?}, and should {:?}; {} stretches are damaged",
            (found, epoch),
            (wanted, expected.epoch),
            report.damaged.len()
        )));
    }
    closed?;
    Ok(Restored { epoch, ..expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_records() {
        let record = |size: i32| {
            let mut bytes = vec![1; size as usize];
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            bytes
        };
        let filler = [100_i32.to_be_bytes(), [0; 4]].concat();
        let bytes = [record(10), record(20), record(50), filler].concat();
        for (room, length) in [
            (0, 10),
            (10, 10),
            (29, 10),
            (30, 30),
            (79, 30),
            (80, 80),
            (88, 88),
        ] {
            assert_eq!(records_within(&bytes, room).len(), length, "{room}");
        }
        assert_eq!(records_within(&bytes[80..], 8).len(), 8);
    }
}
