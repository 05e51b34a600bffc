//! The system's files. Linux only where it matters: `fallocate`, `preadv2`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;

use super::{File, Fs, Lock, Map, Space};

/// Written at once where the file system cannot reserve room.
const ZEROS: usize = 1 << 20;

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

    fn exists(&self, path: &Path) -> bool {
        path.exists()
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
        })
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        Map::of(&file, len)
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

#[derive(Debug)]
struct RealFile(fs::File);

impl RealFile {
    fn write_zeros(&self, mut offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        let end = offset + len;
        while offset < end {
            let part = ZEROS.min(usize::try_from(end - offset).unwrap_or(ZEROS));
            self.0.write_all_at(&zeros[..part], offset)?;
            offset += part as u64;
        }
        Ok(())
    }
}

impl File for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
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

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.write_zeros(offset, len)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::ZERO_RANGE, offset, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.write_zeros(offset, len)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn map_shared(&self, len: u64) -> io::Result<Option<Map>> {
        Map::of(&self.0, len).map(Some)
    }

    fn is_resident(&self, offset: u64, len: u64) -> bool {
        // One byte at both ends: a record is contiguous, and the kernel reads ahead between them.
        let probe = |at: u64| {
            let mut byte = [0u8];
            let mut into = [io::IoSliceMut::new(&mut byte)];
            match rustix::io::preadv2(&self.0, &mut into, at, ReadWriteFlags::NOWAIT) {
                Ok(read) => read == 1,
                // Where the kernel cannot tell, a read in place is as good as any.
                Err(
                    rustix::io::Errno::OPNOTSUPP
                    | rustix::io::Errno::NOSYS
                    | rustix::io::Errno::INVAL,
                ) => true,
                Err(_) => false,
            }
        };
        probe(offset) && (len < 2 || probe(offset + len - 1))
    }
}
