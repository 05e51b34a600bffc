//! One file of the log: a fixed size, room reserved when it is made (and zeros written ahead where that pays), written and read by
//! position.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk_error::DiskError;
use crate::fs::{File, Fs, Map, Residency};

/// Zeros are written from the next boundary of this size on.
const PAGE: u64 = 4096;
static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
/// Zeros that are synced together: the sync of a record waits for at most this much of them.
const ZEROS_AT_ONCE: u64 = 1 << 20;
/// What a reader that nobody follows gives up together: as much as a consumer reads at once. Where all of it was in memory, it stays.
const ASIDE: u64 = 64 << 10;
/// A file with more stretches that were written counts as written.
const STRETCHES_MAX: usize = 1_024;

pub(crate) struct Segment {
    base: u64,
    bytes: u64,
    file: Box<dyn File>,
    /// For what is in memory; reads go without it where the system offers none.
    map: Option<Map>,
    room: Mutex<Room>,
}

/// What follows the records, as offsets in the file.
struct Room {
    /// Records end here at the latest; claimed before they are written, so that zeros never meet them.
    used: u64,
    /// Zeros were written up to here.
    zeroed: u64,
    /// See [`Segment::written_to`].
    written_to: u64,
}

/// Where the last bytes of a file end that were ever written. It is asked before anything is read: what was read counts as written.
fn written_to(file: &dyn File, bytes: u64) -> u64 {
    let mut end = 0;
    for _ in 0..STRETCHES_MAX {
        match file.next_data(end) {
            Ok(Some(data)) if data.end > end && data.end < bytes => end = data.end,
            Ok(None) => return end,
            Ok(Some(_)) | Err(_) => return bytes,
        }
    }
    bytes
}

impl Segment {
    /// Makes the file with its room reserved and its name durable.
    pub(crate) fn create(
        fs: &dyn Fs,
        path: &Path,
        base: u64,
        bytes: u64,
    ) -> Result<Arc<Self>, DiskError> {
        // Under another name first: a half-made segment is never taken for one.
        let temporary = path.with_extension("new");
        let made = (|| -> Result<Box<dyn File>, DiskError> {
            let file = fs
                .create(&temporary)
                .map_err(DiskError::at("create", &temporary))?;
            file.allocate(0, bytes)
                .map_err(DiskError::at("reserve room for", &temporary))?;
            file.sync_all().map_err(DiskError::at("sync", &temporary))?;
            fs.crash_point("segment.allocated");
            fs.rename(&temporary, path)
                .map_err(DiskError::at("rename", &temporary))?;
            if let Some(dir) = path.parent() {
                fs.sync_dir(dir)
                    .map_err(DiskError::at("sync the folder", dir))?;
            }
            fs.crash_point("segment.created");
            Ok(file)
        })();
        let file = made.inspect_err(|_| {
            // Gives the room back; what is left is removed at the next start.
            let _ = fs.remove(&temporary);
        })?;
        let room = Room {
            used: 0,
            zeroed: 0,
            written_to: bytes,
        };
        Ok(Self::of(file, base, bytes, room))
    }

    /// Opens a file that may be full of records, see [`Segment::ends_at`].
    pub(crate) fn open(fs: &dyn Fs, path: &Path, base: u64) -> io::Result<Arc<Self>> {
        let file = fs.open(path)?;
        let bytes = file.len()?;
        let room = Room {
            used: bytes,
            zeroed: 0,
            written_to: written_to(&*file, bytes),
        };
        Ok(Self::of(file, base, bytes, room))
    }

    fn of(file: Box<dyn File>, base: u64, bytes: u64, room: Room) -> Arc<Self> {
        let map = file.map(bytes).unwrap_or_else(|error| {
            tracing::warn!(base, %error, "a segment cannot be mapped; each read of it is a call");
            None
        });
        Arc::new(Self {
            base,
            bytes,
            file,
            map,
            room: Mutex::new(room),
        })
    }

    /// Recovery has found that nothing is used from `position` on.
    pub(crate) fn ends_at(&self, position: u64) {
        let mut room = self.room.lock();
        room.used = position.saturating_sub(self.base).min(self.bytes);
        room.zeroed = 0;
        room.written_to = self.bytes;
    }

    /// Whether less than half of `ahead` bytes after the records have real zeros.
    pub(crate) fn wants_zeros(&self, ahead: u64) -> bool {
        let room = self.room.lock();
        room.zeroed.max(room.used) < self.bytes.min(room.used + ahead / 2)
    }

    /// Writes some zeros after the records and makes them durable through `file`, a handle of its own on the same file, so that the
    /// sync of the records reports its own errors. Returns false when `ahead` bytes are there already.
    pub(crate) fn zero_ahead(&self, file: &dyn File, ahead: u64) -> io::Result<bool> {
        for written in 0..ZEROS_AT_ONCE / PAGE {
            let mut room = self.room.lock();
            let start = room.zeroed.max(room.used).next_multiple_of(PAGE);
            if start >= self.bytes.min(room.used.saturating_add(ahead)) {
                room.zeroed = room.zeroed.max(start);
                drop(room);
                if written > 0 {
                    file.sync()?;
                }
                return Ok(false);
            }
            // Page by page: larger writes make larger units in the page cache, and those make the syncs of small records slower.
            let page = ZEROS.get(..(self.bytes - start) as usize).unwrap_or(&ZEROS);
            file.write_at(start, page)?;
            room.zeroed = start + PAGE;
        }
        file.sync()?;
        Ok(true)
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes
    }

    /// Writes at a log position inside this segment.
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let from = self.claim(position, bytes);
        self.file.write_at(from, bytes)
    }

    /// As [`write`](Self::write), of what nobody reads soon: the memory of what consumers read is left alone.
    pub(crate) fn write_aside(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let from = self.claim(position, bytes);
        self.file.write_aside(from, bytes)
    }

    /// Keeps zeros away from what is about to be written. Returns its offset.
    fn claim(&self, position: u64, bytes: &[u8]) -> u64 {
        let from = position - self.base;
        let mut room = self.room.lock();
        room.used = room.used.max(from + bytes.len() as u64);
        from
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

    /// Records are appended to it from now on, or recovery looks where they end: nothing is read ahead. What is read ahead lies in memory in large
    /// units, and the system goes through all of such a unit with each small write into it (ext4: 8 µs instead of 1). It is read ahead ever
    /// further when the end of the log is read, whatever the file is advised by then.
    pub(crate) fn grows(&self) {
        self.file.read_ahead(false);
    }

    /// Nothing is appended any more.
    pub(crate) fn is_full(&self) {
        self.file.read_ahead(true);
    }

    /// Starts reading from the disk.
    pub(crate) fn will_need(&self, position: u64, bytes: u64) {
        self.file
            .will_need(position.saturating_sub(self.base), bytes);
    }

    /// What lies behind this position was never written, as far as the system knew when the file was opened; the end, once
    /// records are written.
    pub(crate) fn written_to(&self) -> u64 {
        self.base + self.room.lock().written_to
    }

    /// Fills `into` from a log position inside this segment. May wait for the disk.
    pub(crate) fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(self.offset(position)?, into)
    }

    /// As [`read`](Self::read), for a reader that nobody follows: by a handle of its own on the file `path`, without reading ahead, and what was
    /// not in memory before is given up again.
    pub(crate) fn read_aside(
        &self,
        fs: &dyn Fs,
        path: &Path,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<()> {
        let offset = self.offset(position)?;
        let end = offset + into.len() as u64;
        let residency = self.residency(position, position + into.len() as u64);
        let file = fs.open(path)?;
        file.read_ahead(false);
        file.read_at(offset, into)?;
        let mut from = offset;
        while let Some(residency) = residency.as_ref().filter(|_| from < end) {
            let to = end.min((from + 1).next_multiple_of(ASIDE));
            if !residency.covers(from as usize, (to - from) as usize) {
                file.wont_need(from, to - from);
            }
            from = to;
        }
        Ok(())
    }

    /// As [`read`](Self::read), as far as the bytes are in memory. Returns the number of bytes.
    pub(crate) fn read_cached(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_cached(self.offset(position)?, into)
    }

    /// Which pages of a stretch are in memory; `None` where only [`read_cached`](Self::read_cached) can tell.
    pub(crate) fn residency(&self, from: u64, to: u64) -> Option<Residency> {
        let map = self.map.as_ref()?;
        let offset = usize::try_from(from.checked_sub(self.base)?).ok()?;
        let len = usize::try_from(to.checked_sub(from)?).ok()?;
        Some(self.file.residency(map, offset, len))
    }

    /// Whether a record is among them.
    pub(crate) fn is_among(&self, residency: &Residency, position: u64, len: usize) -> bool {
        residency.covers(position.saturating_sub(self.base) as usize, len)
    }

    /// Bytes that are in memory, see [`residency`](Self::residency).
    pub(crate) fn in_memory(&self, position: u64, len: usize) -> &[u8] {
        let at = position.saturating_sub(self.base) as usize;
        self.map.as_ref().map_or(&[], |map| map.get(at, len))
    }

    fn offset(&self, position: u64) -> io::Result<u64> {
        position
            .checked_sub(self.base)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn zeros_go_ahead_of_the_records_and_never_meet_them() {
        const BASE: u64 = 1 << 20;
        const BYTES: u64 = 1 << 20;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("segment");
        let segment = Segment::create(&RealFs, &path, BASE, BYTES).expect("made");
        assert!(segment.wants_zeros(64 << 10));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = RealFs.open(&path).expect("opens");
                while segment.room.lock().used < BYTES {
                    while segment.zero_ahead(&*file, 64 << 10).expect("written") {}
                }
            });
            let mut at = 0;
            while at < BYTES {
                let record = vec![(at % 251) as u8 + 1; 3_333.min(BYTES - at) as usize];
                segment.write(BASE + at, &record).expect("written");
                at += record.len() as u64;
            }
        });
        let file = RealFs.open(&path).expect("opens");
        assert!(!segment.zero_ahead(&*file, BYTES).expect("nothing to do"));
        let mut bytes = vec![0; BYTES as usize];
        segment.read(BASE, &mut bytes).expect("readable");
        for (index, record) in bytes.chunks(3_333).enumerate() {
            let expected = (index as u64 * 3_333 % 251) as u8 + 1;
            assert!(record.iter().all(|byte| *byte == expected), "{index}");
        }
    }

    /// Parts of pages, whole pages, and both, one behind the other.
    #[test]
    fn what_is_written_aside_is_there() {
        const BASE: u64 = 1 << 20;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("segment");
        let segment = Segment::create(&RealFs, &path, BASE, 1 << 20).expect("made");
        let mut expected = Vec::new();
        for (number, len) in [100, 64 << 10, 200_001, 1, 130_000, 4_096, 300_000]
            .into_iter()
            .enumerate()
        {
            let piece = vec![number as u8 + 1; len];
            let at = BASE + expected.len() as u64;
            segment.write_aside(at, &piece).expect("written");
            expected.extend(piece);
            if number % 2 == 0 {
                // Whole pages are on the disk then, and in memory no more.
                segment.sync().expect("synced");
            }
        }
        let mut found = vec![0; expected.len()];
        segment.read(BASE, &mut found).expect("readable");
        assert!(found == expected);
    }

    #[test]
    fn what_was_there_is_not_zeroed_before_recovery_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("segment");
        std::fs::write(&path, vec![7; 64 << 10]).expect("written");
        let segment = Segment::open(&RealFs, &path, 0).expect("opens");
        let file = RealFs.open(&path).expect("opens");
        assert!(!segment.wants_zeros(64 << 10));
        assert!(!segment.zero_ahead(&*file, 64 << 10).expect("nothing to do"));
        segment.ends_at(10_000);
        assert!(segment.wants_zeros(8 << 10));
        while segment.zero_ahead(&*file, 16 << 10).expect("written") {}
        let found = std::fs::read(&path).expect("readable");
        let zeros: Vec<usize> = (0..found.len()).filter(|at| found[*at] == 0).collect();
        assert_eq!((zeros[0], zeros.len()), (12_288, 16 << 10));
    }
}
