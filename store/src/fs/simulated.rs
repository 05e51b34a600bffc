//! A disk in memory that remembers every step, so that a test can stop the machine after any of them and look at what is left.
//!
//! What was synced stays. What was written and not synced stays, is lost, or is torn at a sector, as [`Crash`] says; names that were
//! changed and not synced with their folder survive in order up to some point. It models no bit rot: see [`FaultyFs`](super::FaultyFs) for errors.
#![allow(
    clippy::indexing_slicing,
    reason = "a disk of tests, which is to stop at a defect of its own"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{File, Fs, Lock, Space};

const SECTOR: usize = 512;

/// One change of the disk.
#[derive(Debug, Clone)]
enum Step {
    Name(NameChange),
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Length {
        file: usize,
        len: u64,
    },
    Sync {
        file: usize,
    },
    SyncDir {
        dir: PathBuf,
    },
    Point(&'static str),
}

#[derive(Debug, Clone)]
enum NameChange {
    Create { path: PathBuf, file: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        let (Self::Create { path, .. } | Self::Rename { to: path, .. } | Self::Remove { path }) =
            self;
        path.parent()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create { path, file } => drop(names.insert(path.clone(), *file)),
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove { path } => drop(names.remove(path)),
        }
    }
}

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Everything: the process is gone, the system continues.
    Kill,
    /// Nothing: the power is gone and the disk had written nothing on its own.
    PowerLoss,
    /// Some of it, in any order, torn at sectors; the same for the same seed.
    Torn {
        /// Chooses what.
        seed: u64,
    },
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
    steps: Vec<Step>,
    locked: BTreeSet<PathBuf>,
    free: Option<u64>,
    /// How often the power came back.
    boots: u64,
    random: u64,
}

/// The disk. Clones are the same disk. Its random numbers are the same for the same seed.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk whose random numbers are others than those of a disk with another seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: seed,
                ..State::default()
            })),
        }
    }

    /// How many steps it has seen.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.state.lock().steps.len()
    }

    /// Whether a step, by its number, made something durable: a power cut loses the same before and after any other.
    #[must_use]
    pub fn is_sync(&self, step: usize) -> bool {
        let state = self.state.lock();
        let step = state.steps.get(step);
        matches!(step, Some(Step::Sync { .. } | Step::SyncDir { .. }))
    }

    /// The named points among the steps: number of steps before it, and its name.
    #[must_use]
    pub fn points(&self) -> Vec<(usize, &'static str)> {
        let state = self.state.lock();
        let points = state.steps.iter().enumerate().filter_map(|(at, step)| {
            if let Step::Point(name) = step {
                Some((at, *name))
            } else {
                None
            }
        });
        points.collect()
    }

    /// The number of bytes that is left; writes that extend files beyond it fail. `None` is without end.
    pub fn set_free(&self, free: Option<u64>) {
        self.state.lock().free = free;
    }

    /// The disk as it is found after a crash that follows the first `steps` steps.
    #[must_use]
    pub fn after_crash(&self, steps: usize, crash: Crash) -> Self {
        let state = self.state.lock();
        let mut random = Random(match crash {
            Crash::Torn { seed } => seed ^ (steps as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            Crash::Kill | Crash::PowerLoss => 0,
        });
        // What is safe, and what comes on top if it survives.
        let mut files: Vec<(Vec<u8>, Vec<&Step>)> = vec![Default::default(); state.files.len()];
        let mut names = BTreeMap::new();
        let mut pending: Vec<&NameChange> = Vec::new();
        for step in &state.steps[..steps.min(state.steps.len())] {
            match step {
                Step::Name(change) => pending.push(change),
                Step::Write { file, .. } | Step::Length { file, .. } => files[*file].1.push(step),
                Step::Sync { file } => {
                    let (safe, unsafe_yet) = &mut files[*file];
                    unsafe_yet.drain(..).for_each(|step| replay(safe, step));
                }
                Step::SyncDir { dir } => pending.retain(|change| {
                    let safe = change.dir() == Some(dir);
                    if safe {
                        change.apply(&mut names);
                    }
                    !safe
                }),
                Step::Point(_) => {}
            }
        }
        let names_kept = match crash {
            Crash::Kill => pending.len(),
            Crash::PowerLoss => 0,
            Crash::Torn { .. } => random.below(pending.len() as u64 + 1) as usize,
        };
        pending[..names_kept]
            .iter()
            .for_each(|change| change.apply(&mut names));
        let files = files
            .into_iter()
            .map(|(mut bytes, unsynced)| {
                for step in unsynced {
                    match crash {
                        Crash::Kill => replay(&mut bytes, step),
                        Crash::PowerLoss => {}
                        Crash::Torn { .. } => replay_torn(&mut bytes, step, &mut random),
                    }
                }
                bytes
            })
            .collect();
        let mut next = State {
            names,
            files,
            dirs: state.dirs.clone(),
            free: state.free,
            boots: state.boots + u64::from(crash != Crash::Kill),
            random: state.random,
            ..State::default()
        };
        if crash == Crash::Kill {
            // The system continues: what was not synced still is not.
            next.steps = state.steps[..steps.min(state.steps.len())].to_vec();
            return Self {
                state: Arc::new(Mutex::new(next)),
            };
        }
        // The next life starts with what is there, all of it safe.
        let created = next.names.iter().map(|(path, file)| {
            Step::Name(NameChange::Create {
                path: path.clone(),
                file: *file,
            })
        });
        next.steps = created.collect();
        next.steps.extend(
            next.dirs
                .iter()
                .map(|dir| Step::SyncDir { dir: dir.clone() }),
        );
        for (file, bytes) in next
            .files
            .iter()
            .enumerate()
            .filter(|(_, bytes)| !bytes.is_empty())
        {
            next.steps.push(Step::Write {
                file,
                offset: 0,
                bytes: bytes.clone(),
            });
            next.steps.push(Step::Sync { file });
        }
        Self {
            state: Arc::new(Mutex::new(next)),
        }
    }

    /// Removes the file of a name for good, as if it had been lost.
    pub fn lose(&self, path: &Path) {
        let mut state = self.state.lock();
        let change = NameChange::Remove {
            path: path.to_owned(),
        };
        change.apply(&mut state.names);
        state.steps.push(Step::Name(change));
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        state.steps.push(Step::SyncDir { dir });
    }

    fn name(&self, change: NameChange) {
        let mut state = self.state.lock();
        change.apply(&mut state.names);
        state.steps.push(Step::Name(change));
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.state
            .lock()
            .names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.display().to_string()))
    }
}

fn replay(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write {
            offset, bytes: new, ..
        } => {
            let from = *offset as usize;
            if bytes.len() < from + new.len() {
                bytes.resize(from + new.len(), 0);
            }
            bytes[from..from + new.len()].copy_from_slice(new);
        }
        Step::Length { len, .. } => bytes.resize(*len as usize, 0),
        Step::Name(_) | Step::Sync { .. } | Step::SyncDir { .. } | Step::Point(_) => {}
    }
}

/// Each sector of a write survives or not; a change of length does or does not.
fn replay_torn(bytes: &mut Vec<u8>, step: &Step, random: &mut Random) {
    match step {
        Step::Write {
            file,
            offset,
            bytes: new,
        } => {
            // Half of the crashes lose or keep whole writes, the others tear them.
            let whole = random.below(2) == 0;
            let keep_whole = random.below(2) == 0;
            let mut at = 0;
            while at < new.len() {
                let sector_end =
                    (*offset as usize + at) / SECTOR * SECTOR + SECTOR - *offset as usize;
                let end = sector_end.min(new.len());
                if if whole {
                    keep_whole
                } else {
                    random.below(2) == 0
                } {
                    replay(
                        bytes,
                        &Step::Write {
                            file: *file,
                            offset: offset + at as u64,
                            bytes: new[at..end].to_vec(),
                        },
                    );
                }
                at = end;
            }
        }
        other if random.below(2) == 0 => replay(bytes, other),
        _ => {}
    }
}

/// A small generator, so that the crate needs none outside of tests.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}

impl Fs for SimulatedDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state
            .lock()
            .dirs
            .extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = {
            let mut state = self.state.lock();
            state.files.push(Vec::new());
            state.files.len() - 1
        };
        self.name(NameChange::Create {
            path: path.to_owned(),
            file,
        });
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            file,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            file: self.find(path)?,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        Ok(state.names.contains_key(path) || state.dirs.contains(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.find(from)?;
        self.name(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.name(NameChange::Remove {
            path: path.to_owned(),
        });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state.lock().steps.push(Step::SyncDir {
            dir: path.to_owned(),
        });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let names = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let total = 1 << 40;
        let free = self.state.lock().free.unwrap_or(total);
        Ok(Space {
            total,
            free,
            size: total,
            unused: free,
        })
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<Box<dyn Lock>> {
        if !self.state.lock().locked.insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text.to_owned()));
        }
        Ok(Box::new(SimulatedLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot-{}", self.state.lock().boots))
    }

    fn random(&self) -> io::Result<u128> {
        let mut state = self.state.lock();
        let mut random = Random(state.random);
        let (high, low) = (random.below(u64::MAX), random.below(u64::MAX));
        state.random = random.0;
        Ok((u128::from(high) << 64) | u128::from(low))
    }

    fn crash_point(&self, name: &'static str) {
        self.state.lock().steps.push(Step::Point(name));
    }
}

struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state.lock().locked.remove(&self.path);
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl SimulatedFile {
    fn change(&self, step: Step, end: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let more = end.saturating_sub(state.files[self.file].len() as u64);
        if let Some(free) = state.free {
            let Some(left) = free.checked_sub(more) else {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "no space left on the simulated disk",
                ));
            };
            state.free = Some(left);
        }
        replay(&mut state.files[self.file], &step);
        state.steps.push(step);
        Ok(())
    }
}

impl File for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.change(
            Step::Write {
                file: self.file,
                offset,
                bytes: bytes.to_vec(),
            },
            end,
        )
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.files[self.file]
            .get(from..from + into.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk
            .state
            .lock()
            .steps
            .push(Step::Sync { file: self.file });
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[self.file].len() as u64)
    }

    /// What holds nothing but zeros counts as never written.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let state = self.disk.state.lock();
        let bytes = &state.files[self.file];
        let first = usize::try_from(offset).map_err(io::Error::other)? / SECTOR;
        let mut sectors = (first..).zip(bytes.chunks(SECTOR).skip(first));
        let is_written = |sector: &[u8]| sector.iter().any(|byte| *byte != 0);
        let Some((start, _)) = sectors.find(|(_, sector)| is_written(sector)) else {
            return Ok(None);
        };
        let end = sectors.find(|(_, sector)| !is_written(sector));
        let end = end.map_or(bytes.len(), |(end, _)| end * SECTOR);
        Ok(Some(offset.max((start * SECTOR) as u64)..end as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(
            Step::Length {
                file: self.file,
                len,
            },
            len,
        )
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        if self.len()? < end {
            self.set_len(end)
        } else {
            Ok(())
        }
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.write_at(offset, &zeros)
    }

    fn read_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.read_at(offset, into)?;
        Ok(into.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
        disk.read(Path::new(path), 1 << 20).ok()
    }

    #[test]
    fn what_is_synced_stays_and_the_rest_depends() {
        let disk = SimulatedDisk::new();
        let dir = Path::new("d");
        disk.create_dir_all(dir).expect("made");
        let file = disk.create(&dir.join("f")).expect("made");
        file.write_at(0, b"safe").expect("written");
        file.sync().expect("synced");
        disk.sync_dir(dir).expect("synced");
        file.write_at(2, b"more").expect("written");
        disk.rename(&dir.join("f"), &dir.join("g"))
            .expect("renamed");
        let steps = disk.steps();
        let after = |steps, crash| disk.after_crash(steps, crash);
        assert_eq!(
            read(&after(steps, Crash::PowerLoss), "d/f").as_deref(),
            Some(&b"safe"[..])
        );
        assert_eq!(read(&after(steps, Crash::PowerLoss), "d/g"), None);
        assert_eq!(
            read(&after(steps, Crash::Kill), "d/g").as_deref(),
            Some(&b"samore"[..])
        );
        assert_eq!(read(&after(1, Crash::PowerLoss), "d/f"), None);
        // Twice the same, and each outcome at some seed.
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let crash = Crash::Torn { seed };
            let (one, two) = (after(steps, crash), after(steps, crash));
            for name in ["d/f", "d/g"] {
                assert_eq!(read(&one, name), read(&two, name));
                seen.insert((name, read(&one, name)));
            }
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
        // What survived the power survives it again; what only survived the process still waits for a sync.
        let twice = |first| {
            let again = after(steps, first);
            let last = again.after_crash(again.steps(), Crash::PowerLoss);
            (read(&last, "d/f"), read(&last, "d/g"))
        };
        assert_eq!(twice(Crash::Kill), (Some(b"safe".to_vec()), None));
        assert_eq!(twice(Crash::PowerLoss), (Some(b"safe".to_vec()), None));
        let torn = Crash::Torn { seed: 1 };
        let once = after(steps, torn);
        assert_eq!(twice(torn), (read(&once, "d/f"), read(&once, "d/g")));
    }

    #[test]
    fn it_can_be_full() {
        let disk = SimulatedDisk::new();
        let file = disk.create(Path::new("f")).expect("made");
        disk.set_free(Some(10));
        file.write_at(0, b"12345678").expect("fits");
        assert_eq!(
            file.write_at(4, b"1234567").map_err(|error| error.kind()),
            Err(io::ErrorKind::StorageFull)
        );
        file.write_at(0, b"87654321").expect("takes no room");
        disk.set_free(None);
        file.write_at(4, b"1234567").expect("fits");
    }
}
