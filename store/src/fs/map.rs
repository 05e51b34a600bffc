//! Read-only views of files. The only place with `unsafe`.
#![allow(
    unsafe_code,
    reason = "mapping a file cannot be proven safe by the compiler; see the comment at the call"
)]

use std::fs::File;
use std::io;
use std::ops::Deref;

/// Bytes of a file, mapped, or a copy where a file system cannot map.
#[derive(Debug)]
pub struct Map(Inner);

#[derive(Debug)]
enum Inner {
    Mapped(memmap2::Mmap),
    Copied(Vec<u8>),
}

impl Map {
    /// Maps the first `len` bytes, which must exist.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len)
            .map_err(|_| io::Error::other("the file is too large for this machine"))?;
        if len == 0 {
            return Ok(Self(Inner::Copied(Vec::new())));
        }
        // SAFETY: the map is read-only and private to this process's readers. The store holds a lock file, so no other process of
        // ours changes the file, and it never shortens a file that is mapped. Writes by this process go through `pwrite` and reach a
        // range only before any reader is told of it: the visible end is published after the write, with release ordering.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) }?;
        Ok(Self(Inner::Mapped(map)))
    }

    /// Whether the system shall read ahead of a touched page, which it does by default. A file that grows under the map must not be
    /// read ahead: what comes next is not written yet, and fetching megabytes of zeros holds up the reader.
    pub fn read_ahead(&self, wanted: bool) {
        if let Inner::Mapped(map) = &self.0 {
            let advice = if wanted {
                memmap2::Advice::Normal
            } else {
                memmap2::Advice::Random
            };
            // Advice only: without it reads are slower and as right.
            let _ = map.advise(advice);
        }
    }

    /// Starts reading `len` bytes at `offset` from the disk.
    pub fn will_need(&self, offset: usize, len: usize) {
        if let Inner::Mapped(map) = &self.0
            && offset < map.len()
        {
            // As above.
            let _ = map.advise_range(
                memmap2::Advice::WillNeed,
                offset,
                len.min(map.len() - offset),
            );
        }
    }

    /// A view of bytes in memory.
    #[must_use]
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Inner::Copied(bytes))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(map) => map,
            Inner::Copied(bytes) => bytes,
        }
    }
}
