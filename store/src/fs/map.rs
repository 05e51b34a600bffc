//! Views of files for what is in memory. The only place with `unsafe`.
//!
//! A page of a map that is not in memory is read from the disk when it is touched, and a disk that cannot give it ends the process
//! with SIGBUS. So a map is touched only where the system has said a moment before that the pages are in memory and intact
//! ([`Map::residency`]); everything else is read with `pread`.
#![allow(
    unsafe_code,
    reason = "mapping a file cannot be proven safe by the compiler; see the comments at the calls"
)]

use std::fs::File;
use std::io;
use std::ops::Range;

use smallvec::SmallVec;

/// What `mincore` counts in.
const PAGE: usize = 4096;

/// Bytes of a file, mapped.
#[derive(Debug)]
pub struct Map(memmap2::Mmap);

/// Which pages of a stretch of a map are in memory.
#[derive(Debug)]
pub struct Residency {
    first_page: usize,
    pages: SmallVec<[u8; 384]>,
}

impl Map {
    /// Maps the first `len` bytes, which must exist; `None` where the pages of this system are not those that are counted in.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Option<Self>> {
        let len = usize::try_from(len)
            .map_err(|_| io::Error::other("the file is too large for this machine"))?;
        // SAFETY: it reads a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if len == 0 || usize::try_from(page) != Ok(PAGE) {
            return Ok(None);
        }
        // SAFETY: the map is read-only and private to this process's readers. The store holds a lock file, so no other process of
        // ours changes the file, and it never shortens a file that is mapped. Writes by this process go through `pwrite` and reach a
        // range only before any reader is told of it: the visible end is published after the write, with release ordering.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) }?;
        // Advice only. Nothing that is not in memory is touched, so nothing is to be read ahead.
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Some(Self(map)))
    }

    /// Which pages of a stretch are in memory now. One system call for up to 384 pages without an allocation.
    #[must_use]
    pub fn residency(&self, offset: usize, len: usize) -> Residency {
        let first_page = offset / PAGE;
        let end = offset.saturating_add(len).min(self.0.len());
        let count = end.div_ceil(PAGE).saturating_sub(first_page);
        let mut pages: SmallVec<[u8; 384]> = SmallVec::from_elem(0, count);
        if count > 0 {
            let start = self.0.as_ptr().wrapping_add(first_page * PAGE);
            // SAFETY: `start` is the beginning of a page of the map, `count` pages from there on overlap it, and `pages` has a byte
            // for each of them. Nothing is read through the pointer.
            let told = unsafe {
                libc::mincore(
                    start.cast_mut().cast(),
                    end - first_page * PAGE,
                    pages.as_mut_ptr(),
                )
            };
            if told != 0 {
                pages.clear();
            }
        }
        Residency { first_page, pages }
    }

    /// Bytes of the map. The caller knows that they are in memory; the slice is empty where the map does not reach.
    #[must_use]
    pub fn get(&self, offset: usize, len: usize) -> &[u8] {
        self.0
            .get(offset..offset.saturating_add(len))
            .unwrap_or_default()
    }
}

impl Residency {
    /// Nothing is in memory.
    pub(super) fn none() -> Self {
        Self {
            first_page: 0,
            pages: SmallVec::new(),
        }
    }

    /// The pages that hold a part of `range` are not in memory.
    pub(super) fn leave_out(&mut self, range: &Range<u64>) {
        let page = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (from, to) = (page(range.start) / PAGE, page(range.end).div_ceil(PAGE));
        for (number, is_there) in (self.first_page..).zip(&mut self.pages) {
            *is_there &= u8::from(!(from..to).contains(&number));
        }
    }

    /// Whether all of these bytes are in memory.
    #[must_use]
    pub fn covers(&self, offset: usize, len: usize) -> bool {
        let from = offset / PAGE - self.first_page.min(offset / PAGE);
        let to = (offset + len)
            .div_ceil(PAGE)
            .saturating_sub(self.first_page);
        offset / PAGE >= self.first_page
            && self
                .pages
                .get(from..to)
                .is_some_and(|pages| pages.iter().all(|page| page & 1 == 1))
    }
}
