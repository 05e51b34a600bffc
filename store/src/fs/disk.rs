//! What the store asks of a file system.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::map::{Map, Residency};

/// Waits for folders that are being synced. An outcome for each, in their order.
pub type FoldersSynced = Box<dyn FnOnce() -> Vec<io::Result<()>> + Send>;

/// Operations on names. Paths are absolute or relative to the working directory, as given in the configuration.
pub trait Fs: Send + Sync + 'static {
    /// Creates a folder and its parents; an existing one is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a file for reading and writing; an existing one is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Whether there is something of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names created, changed and removed in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Begins to do [`sync_dir`](Self::sync_dir) to each of these folders, in no order; it is done when the result has been called.
    fn sync_dirs(&self, folders: &[PathBuf]) -> FoldersSynced {
        let outcomes: Vec<_> = folders.iter().map(|path| self.sync_dir(path)).collect();
        Box::new(|| outcomes)
    }
    /// Names of the files in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Room on the file system of a folder.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// The content of a file of at most `bytes_max` bytes; a larger file is an error.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let bytes = file.len()?;
        if bytes > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the file has {bytes} bytes, at most {bytes_max} are expected"),
            ));
        }
        let mut content = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_at(0, &mut content)?;
        Ok(content)
    }
    /// Locks a file (created when missing) against other processes, and leaves `text` in it. `WouldBlock` when it is taken.
    fn lock(&self, path: &Path, text: &str) -> io::Result<Box<dyn Lock>>;
    /// Names the life of the system since it was booted: what was written and not synced outlives the process while this stays the same.
    ///
    /// # Errors
    /// The system does not tell.
    fn boot_id(&self) -> io::Result<String>;
    /// 128 random bits, of which nobody has seen any.
    ///
    /// # Errors
    /// The system gives none.
    fn random(&self) -> io::Result<u128>;
    /// Marks a change of state, for tests that stop the store there.
    fn crash_point(&self, _name: &'static str) {}
}

/// Operations on an open file. Usable from several threads at once.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// As [`write_at`](Self::write_at), of what nobody reads soon: the system may begin to bring it to the disk, and keep no copy of it in memory.
    fn write_aside(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }
    /// Fills `into` from `offset`. May wait for the disk. Fails when a byte of the range cannot be read, and not because of a byte beside it.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Fills `into` from `offset` as far as the bytes are in memory, without waiting for the disk. Returns the number of bytes read.
    /// The error is `Unsupported` where the system cannot tell what is in memory.
    fn read_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// A view of the first `len` bytes, in which later writes appear, for what is in memory; `None` where that is not offered.
    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }
    /// Which pages of a stretch of a map of this file are in memory now.
    fn residency(&self, map: &Map, offset: usize, len: usize) -> Residency {
        map.residency(offset, len)
    }
    /// Asks the system to read a range into memory soon. A hint.
    fn will_need(&self, _offset: u64, _len: u64) {}
    /// Tells the system that a range is not read again soon: it need not be kept in memory. A hint.
    fn wont_need(&self, _offset: u64, _len: u64) {}
    /// Whether the system reads ahead of a read, which it does by default. A file that grows must not be read ahead: what comes next is
    /// not written yet. A hint.
    fn read_ahead(&self, _wanted: bool) {}
    /// Makes content (and length) durable: `fdatasync`.
    fn sync(&self) -> io::Result<()>;
    /// Makes content and all metadata durable: `fsync`.
    fn sync_all(&self) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The next stretch, from `offset` on, in which bytes were ever written; `None` when there is none. What lies before it reads as
    /// zeros. What was read, or read ahead, may count as written. A system that does not know says that all is.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(offset..u64::MAX))
    }
    /// Cuts or extends it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves room, so that later writes in the range cannot fail for want of space. Reads as zeros.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes a range read as zeros; the room stays reserved.
    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// A held lock; dropped, it is released.
pub trait Lock: Send + Sync {}

/// Room on a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// What is used and what is free for this process.
    pub total: u64,
    /// Free for this process.
    pub free: u64,
    /// The whole file system.
    pub size: u64,
    /// Free, with what is kept for root.
    pub unused: u64,
}

impl Space {
    /// Used share, 0 to 1.
    #[must_use]
    pub fn used_ratio(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            1.0 - self.free as f64 / self.total as f64
        }
    }
}
