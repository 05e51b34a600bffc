//! Any file system, with errors where a test wants them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{File, Fs, Lock, Map, Space};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Writing, zeroing and changing the length.
    Write,
    /// Reserving room.
    Allocate,
    /// Syncing a file.
    Sync,
    /// Renaming a file.
    Rename,
}

/// One planned error.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// Only on paths that contain this text; a renamed file counts under the name it was opened with.
    pub path_contains: String,
    /// So many matching operations succeed first.
    pub after: usize,
    /// So many fail then.
    pub times: usize,
    /// With what.
    pub kind: io::ErrorKind,
}

/// A file system with planned errors. Clones share the plan.
#[derive(Clone)]
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    plan: Arc<Mutex<Vec<Fault>>>,
    cold: Arc<AtomicBool>,
}

impl FaultyFs {
    /// Without errors so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
            cold: Arc::default(),
        }
    }

    /// Adds a planned error.
    pub fn plan(&self, fault: Fault) {
        self.plan.lock().push(fault);
    }

    /// Forgets the planned errors.
    pub fn clear(&self) {
        self.plan.lock().clear();
    }

    /// Whether all files pretend not to be in memory.
    pub fn set_cold(&self, cold: bool) {
        self.cold.store(cold, Ordering::Relaxed);
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        check(&self.plan, operation, &path.to_string_lossy())
    }

    fn file(&self, path: &Path, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile {
            inner,
            path: path.to_string_lossy().into_owned(),
            plan: Arc::clone(&self.plan),
            cold: Arc::clone(&self.cold),
        })
    }
}

fn check(plan: &Mutex<Vec<Fault>>, operation: Operation, path: &str) -> io::Result<()> {
    for fault in plan
        .lock()
        .iter_mut()
        .filter(|fault| fault.operation == operation && path.contains(&fault.path_contains))
    {
        if fault.after > 0 {
            fault.after -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            return Err(io::Error::new(
                fault.kind,
                format!("planned failure of {operation:?} on {path}"),
            ));
        }
    }
    Ok(())
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check(Operation::Create, path)?;
        Ok(self.file(path, self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.inner.space(dir)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        self.inner.map(path)
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path, text)
    }

    fn crash_point(&self, name: &'static str) {
        self.inner.crash_point(name);
    }
}

struct FaultyFile {
    inner: Box<dyn File>,
    path: String,
    plan: Arc<Mutex<Vec<Fault>>>,
    cold: Arc<AtomicBool>,
}

impl FaultyFile {
    fn check(&self, operation: Operation) -> io::Result<()> {
        check(&self.plan, operation, &self.path)
    }
}

impl File for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(Operation::Write)?;
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, into)
    }

    fn sync(&self) -> io::Result<()> {
        self.check(Operation::Sync)?;
        self.inner.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.check(Operation::Sync)?;
        self.inner.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(Operation::Write)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(Operation::Allocate)?;
        self.inner.allocate(offset, len)
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(Operation::Write)?;
        self.inner.zero_range(offset, len)
    }

    fn map_shared(&self, len: u64) -> io::Result<Option<Map>> {
        self.inner.map_shared(len)
    }

    fn is_resident(&self, offset: u64, len: u64) -> bool {
        !self.cold.load(Ordering::Relaxed) && self.inner.is_resident(offset, len)
    }
}
