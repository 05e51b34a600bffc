//! What a truncation cuts off is kept, in files of the folder `quarantine`: somebody may still miss it.
//!
//! A file has the intact records of a stretch of the log, one after the other, each with its position and its checksum. Its name is
//! `<epoch>-<from>-<to>.log`: the epoch that the first byte belonged to and the log positions, 20 digits each. There are at most 16 files
//! with 1 GiB together: the oldest go, and of a longer stretch the beginning is kept.

use std::io;
use std::path::{Path, PathBuf};

use rmq_protocol::message::{LogPosition, RecordView};

use crate::disk_error::DiskError;
use crate::fs::{File, Fs};
use crate::layout;
use crate::settings::SETTINGS_TOPIC;

/// So many files are kept.
const QUARANTINE_FILES_MAX: usize = 16;
/// So many bytes are kept in all of them.
const QUARANTINE_BYTES_MAX: u64 = 1 << 30;
/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The end of a log that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAside {
    /// The file that has it.
    pub path: PathBuf,
    /// Where it began in the log.
    pub from: LogPosition,
    /// Where the log ended.
    pub to: LogPosition,
    /// How many messages are in it; what the broker itself writes is none.
    pub messages: u64,
}

/// A stretch of the log that is being put aside.
pub(crate) struct Quarantine<'a> {
    fs: &'a dyn Fs,
    folder: PathBuf,
    temporary: PathBuf,
    file: Box<dyn File>,
    epoch: u64,
    from: u64,
    /// Where the last record ends.
    to: u64,
    /// Where the log ends.
    end: u64,
    messages: u64,
    written: u64,
    buffer: Vec<u8>,
    /// A record was left out.
    is_full: bool,
    failed: Option<DiskError>,
}

impl<'a> Quarantine<'a> {
    /// Makes room for `bytes`, and begins.
    pub(crate) fn begin(
        fs: &'a dyn Fs,
        dir: &Path,
        epoch: u64,
        from: u64,
        bytes: u64,
    ) -> Result<Self, DiskError> {
        let end = from + bytes;
        let folder = layout::quarantine(dir);
        fs.create_dir_all(&folder)
            .and_then(|()| fs.sync_dir(dir))
            .map_err(DiskError::at("create the folder", &folder))?;
        make_room(fs, &folder, bytes.min(QUARANTINE_BYTES_MAX))?;
        let temporary = folder.join("quarantine.new");
        let file = fs
            .create(&temporary)
            .map_err(DiskError::at("create", &temporary))?;
        Ok(Self {
            fs,
            folder,
            temporary,
            file,
            epoch,
            from,
            to: from,
            end,
            messages: 0,
            written: 0,
            buffer: Vec::new(),
            is_full: false,
            failed: None,
        })
    }

    /// Keeps the next record, which lies at `position`.
    pub(crate) fn keep(&mut self, position: u64, record: &[u8]) {
        let is_own = RecordView::parse(record).is_ok_and(|view| view.topic() == SETTINGS_TOPIC);
        self.messages += u64::from(!is_own);
        let bytes = self.written + (self.buffer.len() + record.len()) as u64;
        self.is_full |= bytes > QUARANTINE_BYTES_MAX;
        if self.is_full || self.failed.is_some() {
            return;
        }
        self.buffer.extend_from_slice(record);
        self.to = position + record.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        match self.file.write_at(self.written, &self.buffer) {
            Ok(()) => self.written += self.buffer.len() as u64,
            Err(error) => self.failed = Some(DiskError::at("write", &self.temporary)(error)),
        }
        self.buffer.clear();
    }

    /// Makes it durable. `None`: there was no record.
    pub(crate) fn finish(mut self) -> Result<Option<PutAside>, DiskError> {
        if !self.buffer.is_empty() {
            self.write();
        }
        if let Some(error) = self.failed {
            // Its room is free again.
            let _ = self.fs.remove(&self.temporary);
            return Err(error);
        }
        let (from, to) = (self.from, self.to);
        if to == from {
            return self
                .fs
                .remove(&self.temporary)
                .map(|()| None)
                .map_err(DiskError::at("remove", &self.temporary));
        }
        self.file
            .sync_all()
            .map_err(DiskError::at("sync", &self.temporary))?;
        let path = self
            .folder
            .join(format!("{:020}-{from:020}-{to:020}.log", self.epoch));
        self.fs
            .rename(&self.temporary, &path)
            .and_then(|()| self.fs.sync_dir(&self.folder))
            .map_err(DiskError::at("rename", &self.temporary))?;
        if self.is_full {
            tracing::warn!(
                to,
                "what follows this position is cut off and not kept: there is too much of it"
            );
        }
        Ok(Some(PutAside {
            path,
            from: LogPosition(from),
            to: LogPosition(self.end),
            messages: self.messages,
        }))
    }
}

/// Removes the oldest files, until there is room for another of `bytes` bytes.
fn make_room(fs: &dyn Fs, folder: &Path, bytes: u64) -> Result<(), DiskError> {
    let mut names = fs.list(folder).map_err(DiskError::at("list", folder))?;
    names.retain(|name| name.ends_with(".log"));
    // The oldest epoch first, and in it the first position.
    names.sort();
    let size = |name: &String| -> io::Result<u64> { fs.open(&folder.join(name))?.len() };
    let sizes: Vec<u64> = names.iter().map(|name| size(name).unwrap_or(0)).collect();
    let mut all: u64 = sizes.iter().sum();
    let mut count = names.len();
    for (name, size) in names.iter().zip(sizes) {
        if count < QUARANTINE_FILES_MAX && all + bytes <= QUARANTINE_BYTES_MAX {
            break;
        }
        let path = folder.join(name);
        fs.remove(&path).map_err(DiskError::at("remove", &path))?;
        tracing::warn!(path = %path.display(), "an old file of the quarantine makes room for a new one");
        all -= size;
        count -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SimulatedDisk;

    #[test]
    fn it_keeps_the_newest() {
        let disk = SimulatedDisk::new();
        let dir = Path::new("store");
        let keep = |epoch: u64, from: u64, bytes: usize| {
            let mut quarantine =
                Quarantine::begin(&disk, dir, epoch, from, bytes as u64).expect("begun");
            quarantine.keep(from, &vec![7; bytes]);
            quarantine.finish().expect("kept")
        };
        assert_eq!(keep(1, 0, 0), None, "there is nothing");
        for epoch in 1..=20 {
            let kept = keep(epoch, 100 * epoch, 3).expect("a file");
            assert_eq!((kept.from.0, kept.to.0), (100 * epoch, 100 * epoch + 3));
            assert_eq!(disk.read(&kept.path, 10).expect("there"), [7; 3]);
        }
        let mut names = disk.list(&dir.join("quarantine")).expect("listed");
        names.sort();
        assert_eq!(names.len(), QUARANTINE_FILES_MAX);
        assert!(names[0].starts_with("00000000000000000005-00000000000000000500-"));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let disk = SimulatedDisk::new();
        let dir = Path::new("store");
        let mut quarantine = Quarantine::begin(&disk, dir, 1, 0, 10).expect("begun");
        disk.set_free(Some(0));
        quarantine.keep(0, b"0123456789");
        quarantine.finish().expect_err("the disk is full");
        assert!(
            disk.list(&dir.join("quarantine"))
                .expect("listed")
                .is_empty()
        );
    }
}
