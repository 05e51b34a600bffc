//! The note that a store is being made from a snapshot, in the file `install`:
//!
//! ```text
//! rmq-install 1
//! begun                 nothing in the folder counts: the next start removes it
//! to <log position>     the tables are those at this position, and the log below it is being copied
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! The first line is durable before anything is removed or written, and the second replaces it when everything is: so a crash leaves
//! nothing or the whole. The file goes when the log is durable up to the position.

use std::io;
use std::path::Path;

use crate::fs::Fs;
use crate::layout;
use crate::text_file;

const FIRST_LINE: &str = "rmq-install 1\n";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstallMark {
    /// Nothing here counts.
    Begun,
    /// The tables are those at this log position; the log is not all here yet.
    To(u64),
}

impl InstallMark {
    /// Reads the file; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged (`InvalidData`).
    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = text_file::read(fs, &layout::install(dir))? else {
            return Ok(None);
        };
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it is damaged, so it is not known how much of this store is there; empty the folder and let this broker copy everything again",
            )
        };
        Self::parse(&bytes).map(Some).ok_or_else(damaged)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = text_file::content(bytes)?
            .strip_prefix(FIRST_LINE)?
            .strip_suffix('\n')?;
        match line.split_once(' ') {
            None if line == "begun" => Some(Self::Begun),
            Some(("to", position)) => Some(Self::To(position.parse().ok()?)),
            _ => None,
        }
    }

    /// Replaces the file, durably.
    pub(crate) fn write(self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let line = match self {
            Self::Begun => "begun".to_owned(),
            Self::To(position) => format!("to {position}"),
        };
        let text = format!("{FIRST_LINE}{line}\n");
        text_file::replace(fs, &layout::install(dir), text)
    }

    /// Removes the file, durably.
    pub(crate) fn remove(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        fs.remove(&layout::install(dir))?;
        fs.sync_dir(dir)
    }
}

/// Removes all data of a store, durably: the log, the index, and what is known of them. What was put into quarantine stays.
pub(crate) fn wipe(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    for folder in [layout::log(dir), layout::index(dir)] {
        for name in fs.list(&folder)? {
            fs.remove(&folder.join(name))?;
        }
        fs.sync_dir(&folder)?;
    }
    let files = [
        layout::format(dir),
        layout::incarnation(dir),
        layout::life(dir),
        layout::epochs(dir),
        layout::watermark(dir),
        layout::damage(dir),
    ];
    for path in files {
        if fs.exists(&path)? {
            fs.remove(&path)?;
        }
    }
    fs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SimulatedDisk;

    #[test]
    fn it_says_what_was_written_last() {
        let disk = SimulatedDisk::new();
        let dir = Path::new("store");
        disk.create_dir_all(dir).expect("made");
        let read = || InstallMark::read(&disk, dir).expect("readable");
        assert_eq!(read(), None);
        for mark in [InstallMark::Begun, InstallMark::To(7)] {
            mark.write(&disk, dir).expect("written");
            assert_eq!(read(), Some(mark));
        }
        InstallMark::remove(&disk, dir).expect("removed");
        assert_eq!(read(), None);
        let file = disk.create(&layout::install(dir)).expect("made");
        file.write_at(0, b"rmq-install 1\nbegun\n")
            .expect("written");
        let error = InstallMark::read(&disk, dir).expect_err("without a checksum");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
