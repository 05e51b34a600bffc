//! One file of the log: a fixed size, room reserved when it is made, written by position, read through one map.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::fs::{File, Fs, Map};

pub(crate) struct Segment {
    base: u64,
    bytes: u64,
    file: Box<dyn File>,
    /// `None` where the file system has no shared maps: then reads copy.
    map: Option<Map>,
}

impl Segment {
    /// Makes the file with its room reserved and its name durable.
    pub(crate) fn create(fs: &dyn Fs, path: &Path, base: u64, bytes: u64) -> io::Result<Arc<Self>> {
        // Under another name first: a half-made segment is never taken for one.
        let temporary = path.with_extension("new");
        let made = (|| -> io::Result<Box<dyn File>> {
            let file = fs.create(&temporary)?;
            file.allocate(0, bytes)?;
            file.sync_all()?;
            fs.crash_point("segment.allocated");
            fs.rename(&temporary, path)?;
            if let Some(dir) = path.parent() {
                fs.sync_dir(dir)?;
            }
            fs.crash_point("segment.created");
            Ok(file)
        })();
        let file = made.inspect_err(|_| {
            // Gives the room back; what is left is removed at the next start.
            let _ = fs.remove(&temporary);
        })?;
        Self::of(file, base, bytes)
    }

    pub(crate) fn open(fs: &dyn Fs, path: &Path, base: u64) -> io::Result<Arc<Self>> {
        let file = fs.open(path)?;
        let bytes = file.len()?;
        Self::of(file, base, bytes)
    }

    fn of(file: Box<dyn File>, base: u64, bytes: u64) -> io::Result<Arc<Self>> {
        let map = file.map_shared(bytes)?;
        Ok(Arc::new(Self {
            base,
            bytes,
            file,
            map,
        }))
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes
    }

    /// Writes at a log position inside this segment.
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(position - self.base, bytes)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Everything from `position` on reads as zeros, durably.
    pub(crate) fn clear_from(&self, position: u64) -> io::Result<()> {
        if position < self.end() {
            self.file
                .zero_range(position - self.base, self.end() - position)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    pub(crate) fn is_resident(&self, position: u64, bytes: u64) -> bool {
        self.file.is_resident(position - self.base, bytes)
    }

    /// The bytes from `position` to the end of the segment, for looking through them.
    pub(crate) fn view(self: &Arc<Self>, position: u64, bytes: u64) -> Option<Slice> {
        let start = usize::try_from(position.checked_sub(self.base)?).ok()?;
        let len = usize::try_from(bytes.min(self.end().checked_sub(position)?)).ok()?;
        Some(match &self.map {
            Some(_) => Slice(Source::Mapped {
                segment: Arc::clone(self),
                start,
                len,
            }),
            None => {
                let mut copy = vec![0; len];
                self.file.read_at(start as u64, &mut copy).ok()?;
                Slice(Source::Copied(copy))
            }
        })
    }
}

/// Bytes of a segment; keeps the segment's map alive.
#[derive(Clone)]
pub(crate) struct Slice(Source);

#[derive(Clone)]
enum Source {
    Mapped {
        segment: Arc<Segment>,
        start: usize,
        len: usize,
    },
    Copied(Vec<u8>),
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped {
                segment,
                start,
                len,
            } => match &segment.map {
                Some(map) => &map[*start..*start + *len],
                None => &[],
            },
            Source::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
