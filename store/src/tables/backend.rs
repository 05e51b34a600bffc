//! redb's file behind the seam to the file system, and the one place where redb is called: neither an error of the disk nor a panic in
//! redb goes further than here.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::disk_error::{DiskError, Effect};
use crate::fs::File;

/// One open tables file.
pub(super) struct Backend {
    pub(super) file: Box<dyn File>,
    pub(super) path: PathBuf,
    pub(super) reports: Arc<Reports>,
}

/// What the calls of the tables file have reported: redb passes on that there was an error, and not always which.
#[derive(Default)]
pub(super) struct Reports {
    first: Mutex<Option<Report>>,
    /// A call has failed for good: what the system shows of the file from now on need not be on the disk.
    distrusted: AtomicBool,
}

/// A failed call.
pub(super) struct Report {
    pub(super) text: String,
    /// It does not pass without a restart.
    pub(super) is_final: bool,
    pub(super) is_read: bool,
}

impl Reports {
    /// The first failed call since the last look.
    pub(super) fn take(&self) -> Option<Report> {
        self.first.lock().take()
    }

    /// Whether nothing may be written to the file any more.
    pub(super) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Acquire)
    }

    /// Nothing is written to the file any more: another may have it open.
    pub(super) fn give_up(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    fn note(&self, backend: &Backend, call: Call, error: io::Error) -> io::Error {
        // One error for redb, one for the report.
        let copy = match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        let error = DiskError::at(call.name(), &backend.path)(error);
        // Nothing is retried on a file whose sync failed, whatever the error was.
        let is_final = call == Call::Sync || error.effect() == Effect::ReadOnly;
        if is_final && call != Call::Read {
            self.distrusted.store(true, Ordering::Release);
        }
        self.first.lock().get_or_insert(Report {
            text: error.text(),
            is_final,
            is_read: call == Call::Read,
        });
        copy
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    SetLength,
    Sync,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLength => "change the length of",
            Self::Sync => "sync",
        }
    }
}

impl Backend {
    fn done<T>(&self, call: Call, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| self.reports.note(self, call, error))
    }

    fn change(&self, call: Call, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.reports.is_distrusted() {
            return Err(io::Error::other(
                "an earlier change of this file has failed",
            ));
        }
        self.done(call, change())
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.done(Call::Read, self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.done(Call::Read, self.file.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Call::SetLength, || self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Call::Sync, || self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Call::Write, || self.file.write_at(offset, data))
    }
}

/// Calls redb. A panic in there is an error: it panics on content that it did not write.
pub(super) fn guarded<T, E: fmt::Display>(
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => Err(format!(
            "the database gave up ({})",
            crate::vital::text_of(&*panic)
        )),
    }
}
