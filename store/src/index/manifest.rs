//! Which run files make up the index. Replaced as a whole: temporary file, sync, rename, sync of the directory. Format version 1, little-endian.
//!
//! ```text
//!  0  8  "RMQINDEX"
//!  8  4  version = 1
//! 12  4  number of runs
//! 16  8  generation: grows with each replacement; also the next run's number
//! 24     runs, 24 bytes each, in log order: from u64, to u64, number u64
//!     4  CRC-32 of everything before
//! ```
//!
//! A run is the file `<from>-<to>-<number>.run` beside the manifest. Without a readable manifest the runs are found by their names.

use std::io;
use std::path::{Path, PathBuf};

use super::run::Span;
use crate::fs::Fs;

const MARK: &[u8; 8] = b"RMQINDEX";
const VERSION: u32 = 1;
const HEADER: usize = 24;
const RUN: usize = 24;
const NAME: &str = "manifest";

/// A run as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunName {
    pub(crate) span: Span,
    pub(crate) number: u64,
}

impl RunName {
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!(
            "{:020}-{:020}-{}.run",
            self.span.from, self.span.to, self.number
        ))
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".run")?.split('-');
        let (from, to, number) = (parts.next()?, parts.next()?, parts.next()?);
        let run = Self {
            span: Span::new(from.parse().ok()?, to.parse().ok()?),
            number: number.parse().ok()?,
        };
        (parts.next().is_none() && run.span.from < run.span.to).then_some(run)
    }
}

/// The manifest's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) runs: Vec<RunName>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("it does not exist")]
    Missing,
    #[error("it is damaged")]
    Damaged,
    #[error("the disk does not give it: {0}")]
    Unreadable(io::Error),
    #[error(
        "it has format version {0}, this program reads version {VERSION}: use the version of rmq that wrote it, or a later one"
    )]
    Version(u32),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Manifest {
    pub(crate) fn load(fs: &dyn Fs, dir: &Path) -> Result<Self, ManifestError> {
        let path = dir.join(NAME);
        if !fs.exists(&path)? {
            return Err(ManifestError::Missing);
        }
        let file = fs.open(&path)?;
        let len = usize::try_from(file.len()?).map_err(|_| ManifestError::Damaged)?;
        if !(HEADER + 4..=64 << 20).contains(&len) {
            return Err(ManifestError::Damaged);
        }
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)
            .map_err(ManifestError::Unreadable)?;
        Self::decode(&bytes)
    }

    /// Where the log began when the runs were written, if that is below `start`: segments were removed by somebody else than the
    /// store, which drops runs before it removes their segment.
    pub(crate) fn began_before(fs: &dyn Fs, dir: &Path, start: u64) -> Option<u64> {
        let manifest = Self::load(fs, dir).ok()?;
        let first = manifest.runs.iter().map(|run| run.span.from).min();
        first.filter(|first| *first < start)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let half = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let body = bytes.len().checked_sub(4).ok_or(ManifestError::Damaged)?;
        let checked = bytes.get(..body).map(crc32fast::hash);
        if bytes.get(..8) != Some(MARK) || half(body) != checked {
            return Err(ManifestError::Damaged);
        }
        let version = half(8).ok_or(ManifestError::Damaged)?;
        if version != VERSION {
            return Err(ManifestError::Version(version));
        }
        let count = half(12).ok_or(ManifestError::Damaged)? as usize;
        if body != HEADER + count * RUN {
            return Err(ManifestError::Damaged);
        }
        let run = |at: usize| {
            Some(RunName {
                span: Span::new(word(at)?, word(at + 8)?),
                number: word(at + 16)?,
            })
        };
        let runs: Option<Vec<RunName>> =
            (0..count).map(|index| run(HEADER + index * RUN)).collect();
        Ok(Self {
            generation: word(16).ok_or(ManifestError::Damaged)?,
            runs: runs.ok_or(ManifestError::Damaged)?,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.runs.len() * RUN + 4);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        for run in &self.runs {
            bytes.extend_from_slice(&run.span.from.to_le_bytes());
            bytes.extend_from_slice(&run.span.to.to_le_bytes());
            bytes.extend_from_slice(&run.number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Replaces the manifest; afterwards it and every run it names are durable.
    pub(crate) fn store(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("manifest.tmp");
        let file = fs.create(&temporary)?;
        file.write_at(0, &self.encode())?;
        file.sync()?;
        drop(file);
        // The runs' names first: a manifest never names a file that a crash can take back.
        fs.sync_dir(dir)?;
        fs.rename(&temporary, &dir.join(NAME))?;
        fs.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_byte() {
        let run = |from, to, number| RunName {
            span: Span::new(from, to),
            number,
        };
        let manifest = Manifest {
            generation: 9,
            runs: vec![run(0, 100, 3), run(100, 250, 8)],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            assert!(Manifest::decode(&broken).is_err(), "byte {at}");
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn names_of_runs() {
        let run = RunName {
            span: Span::new(64, 128),
            number: 7,
        };
        let path = run.path(Path::new("d"));
        assert_eq!(
            path.file_name().and_then(|name| name.to_str()),
            Some("00000000000000000064-00000000000000000128-7.run")
        );
        assert_eq!(
            RunName::parse("00000000000000000064-00000000000000000128-7.run"),
            Some(run)
        );
        for bad in [
            "1-2-3.run.tmp",
            "1-2.run",
            "2-1-3.run",
            "1-2-3-4.run",
            "manifest",
        ] {
            assert_eq!(RunName::parse(bad), None, "{bad}");
        }
    }
}
