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
