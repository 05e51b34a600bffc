//! A full page cache, as machines in service have it.
//!
//! A virtual machine may hand memory that it does not use back to its host (free page reporting, balloons). The first touch of
//! such a page is then a fault of the host, and a server that stores messages touches new pages all the time: on one such machine
//! the same broker needed 4.3 µs of CPU a message with free memory, and 2.2 µs with none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// So much is left free, bytes: what the system keeps anyway.
const FREE_BYTES: u64 = 768 << 20;
/// The disk keeps at least this, bytes.
pub(crate) const DISK_BYTES: u64 = 16 << 30;
const PIECE: usize = 1 << 20;
/// Free memory up to this size, bytes, that no file gets to cache is touched instead: some systems keep that much in regions of their own.
const TOUCH_BYTES: u64 = 4 << 30;
const TOUCH_PIECE: usize = 64 << 20;

/// A file whose only use is that it is cached; removed when the value is dropped.
#[derive(Debug)]
pub struct PageCache {
    file: File,
    path: PathBuf,
}

impl PageCache {
    /// Makes the file, still empty, in `dir`.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("rmq-bench-fill-{}", std::process::id()));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        Ok(Self { file, path })
    }

    /// Reads and extends the file until next to no memory is free, or the disk has no room for more. What is free then is touched once
    /// when it is little, so that the host has given it; the answer is the bytes that are too many for that.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&mut self) -> io::Result<Option<u64>> {
        let mut piece = vec![b'x'; PIECE];
        // What a run has displaced comes back without more disk.
        self.file.seek(SeekFrom::Start(0))?;
        let unfilled = loop {
            let free = free_memory()?;
            if free <= FREE_BYTES {
                break None;
            }
            if self.file.read(&mut piece)? == 0 {
                if free_disk(&self.path)? < DISK_BYTES {
                    break Some(free);
                }
                self.file.write_all(&piece)?;
            }
        };
        // Only what is clean can be displaced.
        self.file.sync_data()?;
        match unfilled {
            Some(free) if free <= TOUCH_BYTES => {
                touch(free)?;
                Ok(None)
            }
            unfilled => Ok(unfilled),
        }
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        // Whoever cannot remove it has said so when making it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes to as much memory as is free, and gives it back.
fn touch(free: u64) -> io::Result<()> {
    let mut pieces = Vec::new();
    // Meanwhile the system makes other memory free, which was in use and needs no touch.
    while (pieces.len() * TOUCH_PIECE) as u64 + FREE_BYTES / 2 < free
        && free_memory()? > FREE_BYTES / 2
    {
        pieces.push(std::hint::black_box(vec![1u8; TOUCH_PIECE]));
    }
    Ok(())
}

fn free_memory() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1_024)
        .ok_or_else(|| io::Error::other("/proc/meminfo does not say MemFree"))
}

fn free_disk(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail * disk.f_frsize)
}
