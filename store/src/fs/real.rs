//! The system's files. Linux only where it matters: `fallocate`, `preadv2`.

use std::fs::{self, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::disk::{File, FoldersSynced, Fs, Lock, Space};
use super::map::Map;

/// Written at once where the file system cannot reserve room.
const ZEROS: usize = 1 << 20;

/// The system writes what it was given at once, and keeps no copy in memory (`RWF_DONTCACHE`, Linux 6.14; `include/uapi/linux/fs.h`).
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
/// Pages have this many bytes at most. A page that was dropped is read again before something is written into it, so a part of one is kept.
const PAGE_BYTES: u64 = 64 << 10;

/// The page cache reads in units of up to this many bytes.
const UNIT_MAX: u64 = 2 << 20;

/// Where the kernel names its life since the boot (`Documentation/admin-guide/sysctl/kernel.rst`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Where the kernel gives random bytes (`random(4)`).
const RANDOM: &str = "/dev/urandom";

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(
            OpenOptions::new().read(true).write(true).open(path)?,
        )))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn sync_dirs(&self, folders: &[PathBuf]) -> FoldersSynced {
        // Side by side: the device flushes once for all who wait for that.
        let running: Vec<_> = folders
            .iter()
            .map(|folder| {
                let path = folder.clone();
                let sync = move || Self.sync_dir(&path);
                let thread = thread::Builder::new().name("rmq-sync-names".to_owned());
                thread.spawn(sync).map_err(|_| Self.sync_dir(folder))
            })
            .collect();
        Box::new(|| {
            let outcome = |thread| match thread {
                Ok(thread) => join(thread),
                Err(outcome) => outcome,
            };
            running.into_iter().map(outcome).collect()
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| {
                entry?.file_name().into_string().map_err(|name| {
                    io::Error::other(format!(
                        "{} holds a file whose name is not UTF-8: {}",
                        dir.display(),
                        name.display()
                    ))
                })
            })
            .collect()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Space {
            // Blocks reserved for root are neither used nor free for us; `df` leaves them out as well.
            total: (stat.f_blocks.saturating_sub(stat.f_bfree) + stat.f_bavail) * stat.f_frsize,
            free: stat.f_bavail * stat.f_frsize,
            size: stat.f_blocks * stat.f_frsize,
            unused: stat.f_bfree * stat.f_frsize,
        })
    }

    fn boot_id(&self) -> io::Result<String> {
        fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned())
    }

    fn random(&self) -> io::Result<u128> {
        use std::io::Read;
        let mut bytes = [0; 16];
        fs::File::open(RANDOM)?.read_exact(&mut bytes)?;
        Ok(u128::from_ne_bytes(bytes))
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<Box<dyn Lock>> {
        use std::io::Write;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(path).unwrap_or_default();
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    holder.trim().to_owned(),
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        Ok(Box::new(RealLock(file)))
    }
}

#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held for its lock")] fs::File);

impl Lock for RealLock {}

fn join(thread: thread::JoinHandle<io::Result<()>>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("the thread that syncs a folder panicked"));
    thread.join().unwrap_or_else(panicked)
}

#[derive(Debug)]
struct RealFile(fs::File);

impl RealFile {
    /// `len` 0 is the rest of the file.
    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        // Advice only: without it reads are slower and as right.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(len), advice);
    }

    fn write_zeros(&self, mut offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        let end = offset + len;
        while offset < end {
            let part = zeros
                .get(..usize::try_from(end - offset).unwrap_or(ZEROS))
                .unwrap_or(&zeros);
            self.0.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }
}

impl File for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_aside(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let whole = (end / PAGE_BYTES * PAGE_BYTES).saturating_sub(offset) as usize;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..whole).filter(|rest| !rest.is_empty()) {
            let rest = [io::IoSlice::new(rest)];
            match rustix::io::pwritev2(&self.0, &rest, offset + written as u64, DONT_CACHE) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                // Neither the system nor the file system has to know it.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let rest = bytes.get(written..).unwrap_or_default();
        self.write_at(offset + written as u64, rest)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self.0.read_exact_at(into, offset) {
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                // The page cache reads in larger units than it is asked for, and one bad sector fails the whole unit: the unit is
                // dropped, and read again without its neighbours.
                let from = offset / UNIT_MAX * UNIT_MAX;
                let to = (offset + into.len() as u64).next_multiple_of(UNIT_MAX);
                self.advise(from, to - from, Advice::DontNeed);
                self.read_ahead(false);
                let again = self.0.read_exact_at(into, offset);
                self.read_ahead(true);
                again
            }
            outcome => outcome,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        // It moves the file's own position, which nothing uses.
        match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data..rustix::fs::seek(&self.0, SeekFrom::Hole(data))?)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(offset, len),
            Err(error) => Err(error.into()),
        }
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::ZERO_RANGE, offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(offset, len),
            Err(error) => Err(error.into()),
        }
    }

    fn read_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let mut rest = [io::IoSliceMut::new(rest)];
            let at = offset + read as u64;
            match rustix::io::preadv2(&self.0, &mut rest, at, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(more) => read += more,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read)
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        Map::of(&self.0, len)
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.advise(offset, len, Advice::WillNeed);
    }

    fn wont_need(&self, offset: u64, len: u64) {
        self.advise(offset, len, Advice::DontNeed);
    }

    fn read_ahead(&self, wanted: bool) {
        let advice = if wanted {
            Advice::Normal
        } else {
            Advice::Random
        };
        self.advise(0, 0, advice);
    }
}
