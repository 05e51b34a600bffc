//! Any file system, with errors where a test wants them.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::disk::{File, Fs, Lock, Space};
use super::map::{Map, Residency};

/// What fails. The first five stand for several calls of the seam, the others for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Writing, zeroing and changing the length.
    Write,
    /// Reserving room.
    Allocate,
    /// Syncing a file, with or without its metadata.
    Sync,
    /// Renaming a file.
    Rename,
    /// Creating a folder.
    CreateDir,
    /// Opening a file.
    Open,
    /// Asking whether there is a file.
    Exists,
    /// Writing bytes.
    WriteAt,
    /// Zeroing a range.
    ZeroRange,
    /// Changing the length.
    SetLen,
    /// Reading bytes.
    Read,
    /// Asking for the length.
    Length,
    /// Syncing content: `fdatasync`.
    SyncData,
    /// Syncing content and metadata: `fsync`.
    SyncAll,
    /// Syncing a folder.
    SyncDir,
    /// Removing a file.
    Remove,
    /// Listing a folder.
    List,
    /// Asking for the room.
    Space,
    /// Reading what is in memory.
    ReadCached,
    /// Asking which pages of a map are in memory.
    Residency,
    /// Locking a file.
    Lock,
}

impl Operation {
    /// Whether this name of a fault stands for `call`.
    fn means(self, call: Self) -> bool {
        self == call
            || matches!(
                (self, call),
                (Self::Write, Self::WriteAt | Self::ZeroRange | Self::SetLen)
                    | (Self::Sync, Self::SyncData | Self::SyncAll)
            )
    }
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

/// One call that was made: what, and on which path.
pub type Call = (Operation, String);

/// A file system with planned errors. Clones share the plan.
#[derive(Clone)]
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    faults: Mutex<Vec<Planned>>,
    /// Calls that were made, while they are recorded.
    calls: Mutex<Option<Vec<Call>>>,
    /// Errors that were given so far.
    given: AtomicUsize,
    cold: AtomicBool,
    maps: AtomicBool,
    bad: Mutex<Vec<Bad>>,
}

/// Bytes of a file that cannot be read.
struct Bad {
    path_contains: String,
    range: Range<u64>,
}

const PAGE: u64 = 4096;
/// The system's number for an I/O error.
const EIO: i32 = 5;

struct Planned {
    fault: Fault,
    /// The number of the system's error, where its kind does not say enough.
    errno: Option<i32>,
}

impl FaultyFs {
    /// Without errors so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Adds a planned error.
    pub fn plan(&self, fault: Fault) {
        self.plan.faults.lock().push(Planned { fault, errno: None });
    }

    /// Adds a planned error that the system reports by number, such as 5 for `EIO`; the fault's own kind does not count.
    pub fn plan_errno(&self, fault: Fault, errno: i32) {
        let errno = Some(errno);
        self.plan.faults.lock().push(Planned { fault, errno });
    }

    /// Forgets the planned errors.
    pub fn clear(&self) {
        self.plan.faults.lock().clear();
    }

    /// How many planned errors were given so far.
    #[must_use]
    pub fn given(&self) -> usize {
        self.plan.given.load(Ordering::Acquire)
    }

    /// Begins to record the calls; what was recorded before is forgotten.
    pub fn record(&self) {
        *self.plan.calls.lock() = Some(Vec::new());
    }

    /// Ends the recording. Calls of several threads are in the order in which they came.
    #[must_use]
    pub fn recorded(&self) -> Vec<Call> {
        self.plan.calls.lock().take().unwrap_or_default()
    }

    /// Makes bytes of the files whose path contains a text unreadable, as bad sectors are: each read that touches them fails with EIO.
    /// What is written again can be read again, as a disk replaces a bad sector when it is written.
    pub fn set_bad(&self, path_contains: &str, range: Range<u64>) {
        self.plan.bad.lock().push(Bad {
            path_contains: path_contains.to_owned(),
            range,
        });
    }

    /// Makes everything readable again.
    pub fn clear_bad(&self) {
        self.plan.bad.lock().clear();
    }

    /// Whether all files pretend not to be in memory.
    pub fn set_cold(&self, cold: bool) {
        self.plan.cold.store(cold, Ordering::Relaxed);
    }

    /// Whether files that are opened from now on can be mapped, where the file system behind can map them. No error is planned for what is
    /// read from a map: it is only used for what is in memory.
    pub fn set_maps(&self, maps: bool) {
        self.plan.maps.store(maps, Ordering::Relaxed);
    }

    fn check(&self, call: Operation, path: &Path) -> io::Result<()> {
        self.plan.check(call, &path.to_string_lossy())
    }

    fn file(&self, path: &Path, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile {
            inner,
            path: path.to_string_lossy().into_owned(),
            plan: Arc::clone(&self.plan),
        })
    }
}

impl Plan {
    /// The first byte of a range that cannot be read.
    fn bad_within(&self, path: &str, offset: u64, len: usize) -> Option<u64> {
        let end = offset + len as u64;
        self.bad
            .lock()
            .iter()
            .filter(|bad| path.contains(&bad.path_contains))
            .filter(|bad| bad.range.start < end && offset < bad.range.end)
            .map(|bad| bad.range.start.max(offset))
            .min()
    }

    /// Pages reach the disk as a whole.
    fn written(&self, path: &str, range: Range<u64>) {
        let range = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE);
        let mut all = self.bad.lock();
        let (hit, mut left): (Vec<Bad>, Vec<Bad>) = all
            .drain(..)
            .partition(|bad| path.contains(&bad.path_contains));
        for bad in hit {
            let before = bad.range.start..bad.range.end.min(range.start);
            let after = bad.range.start.max(range.end)..bad.range.end;
            left.extend(
                [before, after]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .map(|range| Bad {
                        path_contains: bad.path_contains.clone(),
                        range,
                    }),
            );
        }
        *all = left;
    }

    fn check(&self, call: Operation, path: &str) -> io::Result<()> {
        if let Some(calls) = self.calls.lock().as_mut() {
            calls.push((call, path.to_owned()));
        }
        for Planned { fault, errno } in self.faults.lock().iter_mut() {
            if !fault.operation.means(call) || !path.contains(&fault.path_contains) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                self.given.fetch_add(1, Ordering::AcqRel);
                return Err(match errno {
                    Some(errno) => io::Error::from_raw_os_error(*errno),
                    None => {
                        io::Error::new(fault.kind, format!("planned failure of {call:?} on {path}"))
                    }
                });
            }
        }
        Ok(())
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::CreateDir, path)?;
        self.inner.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check(Operation::Create, path)?;
        Ok(self.file(path, self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check(Operation::Open, path)?;
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check(Operation::Exists, path)?;
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir, path)?;
        self.inner.sync_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check(Operation::List, dir)?;
        self.inner.list(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.check(Operation::Space, dir)?;
        self.inner.space(dir)
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<Box<dyn Lock>> {
        self.check(Operation::Lock, path)?;
        self.inner.lock(path, text)
    }

    fn boot_id(&self) -> io::Result<String> {
        self.inner.boot_id()
    }

    fn random(&self) -> io::Result<u128> {
        self.inner.random()
    }

    fn crash_point(&self, name: &'static str) {
        self.inner.crash_point(name);
    }
}

struct FaultyFile {
    inner: Box<dyn File>,
    path: String,
    plan: Arc<Plan>,
}

impl FaultyFile {
    fn check(&self, call: Operation) -> io::Result<()> {
        self.plan.check(call, &self.path)
    }
}

impl File for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(Operation::WriteAt)?;
        self.inner.write_at(offset, bytes)?;
        self.plan
            .written(&self.path, offset..offset + bytes.len() as u64);
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(Operation::Read)?;
        if self
            .plan
            .bad_within(&self.path, offset, into.len())
            .is_some()
        {
            self.plan.given.fetch_add(1, Ordering::AcqRel);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.inner.read_at(offset, into)
    }

    fn sync(&self) -> io::Result<()> {
        self.check(Operation::SyncData)?;
        self.inner.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.check(Operation::SyncAll)?;
        self.inner.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.check(Operation::Length)?;
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(Operation::SetLen)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(Operation::Allocate)?;
        self.inner.allocate(offset, len)
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(Operation::ZeroRange)?;
        self.inner.zero_range(offset, len)?;
        self.plan.written(&self.path, offset..offset + len);
        Ok(())
    }

    fn read_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.check(Operation::ReadCached)?;
        if self.plan.cold.load(Ordering::Relaxed) {
            return Ok(0);
        }
        // What cannot be read never came into memory.
        let len = into.len();
        let bad = self.plan.bad_within(&self.path, offset, len);
        let in_memory = bad.map_or(len, |bad| usize::try_from(bad - offset).unwrap_or(len));
        let into = into.get_mut(..in_memory).unwrap_or_default();
        self.inner.read_cached(offset, into)
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        if self.plan.maps.load(Ordering::Relaxed) {
            self.inner.map(len)
        } else {
            Ok(None)
        }
    }

    fn residency(&self, map: &Map, offset: usize, len: usize) -> Residency {
        if self.check(Operation::Residency).is_err() || self.plan.cold.load(Ordering::Relaxed) {
            return Residency::none();
        }
        let mut residency = self.inner.residency(map, offset, len);
        // What cannot be read never came into memory.
        for bad in self.plan.bad.lock().iter() {
            if self.path.contains(&bad.path_contains) {
                residency.leave_out(&bad.range);
            }
        }
        residency
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.inner.next_data(offset)
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.inner.will_need(offset, len);
    }

    fn wont_need(&self, offset: u64, len: u64) {
        self.inner.wont_need(offset, len);
    }

    fn read_ahead(&self, wanted: bool) {
        self.inner.read_ahead(wanted);
    }
}
