//! The index: where the messages of each queue lie in the log, and where those with a key are.
//!
//! The newest part is in memory ([`recent`], [`keys`]); what is older lies in run files ([`run`]) that the [`manifest`] names. All of
//! it is derived: a file that is missing or damaged is dropped and written again from the log.

pub(crate) mod keys;
pub(crate) mod manifest;
pub(crate) mod merge;
pub(crate) mod rebuild;
pub(crate) mod recent;
pub(crate) mod run;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tracing::{error, info, warn};

use crate::fs::Fs;
use crate::log_reader::LogReader;
use manifest::{Manifest, ManifestError, RunName};
use run::{Chunk, Run};

pub(crate) use run::{RunDamaged, Span};

/// The runs at one moment, in log order and without a gap.
pub(crate) type Runs = Vec<Arc<Run>>;

/// The run files.
pub(crate) struct Index {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    runs: ArcSwap<Runs>,
    /// The manifest's generation; also the lock for changes of the runs.
    changes: Mutex<u64>,
    /// Everything below is in runs.
    end: AtomicU64,
    /// Entries below are gone with their segments.
    start: AtomicU64,
    /// What was wrong when it was opened.
    notes: Mutex<Vec<String>>,
}

impl Index {
    /// Opens the runs. What is missing or damaged is written again from the log; the rest of the log is left to the replay.
    pub(crate) fn open(dir: &Path, fs: Arc<dyn Fs>, log: &dyn LogReader) -> Result<Self, String> {
        let dir = dir.to_owned();
        fs.create_dir_all(&dir).map_err(|error| error.to_string())?;
        let files = fs.list(&dir).map_err(|error| error.to_string())?;
        let found: Vec<RunName> = files
            .iter()
            .filter_map(|name| RunName::parse(name))
            .collect();
        let mut notes = Vec::new();
        let manifest = match Manifest::load(&*fs, &dir) {
            Ok(manifest) => manifest,
            Err(ManifestError::Missing) if found.is_empty() => Manifest::default(),
            Err(error @ (ManifestError::Version(_) | ManifestError::Io(_))) => {
                return Err(format!("its manifest: {error}"));
            }
            Err(error) => {
                warn!(dir = %dir.display(), %error, runs = found.len(), "the manifest of the index is not usable; its runs are found by their names");
                notes.push(format!("the manifest of the index was not usable: {error}"));
                adopt(&found)
            }
        };
        let index = Self {
            runs: ArcSwap::default(),
            changes: Mutex::new(manifest.generation),
            end: AtomicU64::new(0),
            start: AtomicU64::new(log.start()),
            notes: Mutex::new(notes),
            fs,
            dir,
        };
        index.open_runs(&manifest, log);
        index.remove_strays(&files);
        Ok(index)
    }

    /// Takes the manifest's runs as far as they follow each other; a bad one in between is written again.
    fn open_runs(&self, manifest: &Manifest, log: &dyn LogReader) {
        let start = log.start();
        let again = log.readable_again();
        let mut runs = Runs::new();
        let mut changed = false;
        let mut end = None;
        for name in &manifest.runs {
            if name.span.to <= start {
                changed = true;
                continue;
            }
            if let Some(end) = end.filter(|end| *end != name.span.from) {
                self.note(format!(
                    "index runs were missing between {end} and {}",
                    name.span.from
                ));
                error!(
                    end,
                    next = name.span.from,
                    "the runs of the index do not follow each other; the log is replayed from there"
                );
                changed = true;
                break;
            }
            let lacks = again
                .iter()
                .any(|range| range.from < name.span.to && name.span.from < range.to);
            let run = if lacks {
                info!(log = %name.span, "a run of the index is written again: the log behind it can be read again");
                changed = true;
                self.rebuild(name.span, log)
            } else {
                Run::open(&*self.fs, &name.path(&self.dir), name.span).or_else(|damage| {
                    changed = true;
                    self.note(damage.to_string());
                    warn!(%damage, "a run of the index is written again from the log");
                    self.rebuild(name.span, log)
                })
            };
            match run {
                Ok(run) => runs.push(Arc::new(run)),
                Err(error) => {
                    error!(%error, from = name.span.from, "a run of the index cannot be written again; the log is replayed from there");
                    changed = true;
                    break;
                }
            }
            end = Some(name.span.to);
        }
        let first = runs.first().map(|first| first.span().from);
        if let Some(first) = first.filter(|first| *first > start) {
            // Something before the first run is missing: only a replay from the beginning finds it.
            self.note(format!("the index began at {first} and not at {start}"));
            warn!(
                log = start,
                index = first,
                "the index does not reach back to the beginning of the log; it is written again"
            );
            runs.clear();
            changed = true;
        }
        self.end.store(
            runs.last().map_or(start, |last| last.span().to),
            Ordering::Release,
        );
        if changed {
            let mut generation = self.changes.lock();
            if let Err(error) = self.install(&mut generation, runs.clone()) {
                warn!(%error, "the manifest of the index cannot be replaced; it is tried again with the next run");
                self.runs.store(Arc::new(runs));
            }
        } else {
            self.runs.store(Arc::new(runs));
        }
    }

    /// Removes files that the manifest does not name: what a crash left in the middle of a change.
    fn remove_strays(&self, files: &[String]) {
        let runs = self.runs.load();
        for name in files {
            let known = RunName::parse(name).is_some_and(|found| {
                runs.iter()
                    .any(|run| run.span() == found.span && run.number() == found.number)
            });
            if !known && (name.ends_with(".run") || name.ends_with(".tmp")) {
                info!(file = name, "removing a file the index does not need");
                if let Err(error) = self.fs.remove(&self.dir.join(name)) {
                    warn!(file = name, %error, "it cannot be removed");
                }
            }
        }
    }

    /// Everything below this position is in runs; the next run begins here.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Entries below this position are gone.
    pub(crate) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// What was wrong when it was opened, and was made good.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().clone()
    }

    fn note(&self, text: String) {
        self.notes.lock().push(text);
    }

    /// The runs at this moment.
    pub(crate) fn runs(&self) -> arc_swap::Guard<Arc<Runs>> {
        self.runs.load()
    }

    /// The lock for changes of the runs.
    pub(crate) fn change(&self) -> MutexGuard<'_, u64> {
        self.changes.lock()
    }

    /// The name the next run file gets.
    pub(crate) fn next_name(&self, generation: &mut u64, span: Span) -> RunName {
        *generation += 1;
        RunName {
            span,
            number: *generation,
        }
    }

    /// Makes `runs` the index: manifest first, then for everyone.
    fn install(&self, generation: &mut u64, runs: Runs) -> io::Result<()> {
        *generation += 1;
        let names = runs
            .iter()
            .map(|run| RunName {
                span: run.span(),
                number: run.number(),
            })
            .collect();
        Manifest {
            generation: *generation,
            runs: names,
        }
        .store(&*self.fs, &self.dir)?;
        self.fs.crash_point("index.manifest_replaced");
        if let Some(last) = runs.last() {
            self.end.store(last.span().to, Ordering::Release);
        }
        let old = self.runs.swap(Arc::new(runs));
        let new = self.runs.load();
        for gone in old
            .iter()
            .filter(|old| !new.iter().any(|new| Arc::ptr_eq(old, new)))
        {
            let name = RunName {
                span: gone.span(),
                number: gone.number(),
            };
            if let Err(error) = self.fs.remove(&name.path(&self.dir)) {
                warn!(file = %name.path(&self.dir).display(), %error, "a run file that is no longer needed cannot be removed; the next start tries again");
            }
        }
        Ok(())
    }

    /// Adds the next run.
    pub(crate) fn append(&self, generation: &mut u64, run: Run) -> io::Result<()> {
        let mut runs = Runs::clone(&self.runs.load());
        runs.push(Arc::new(run));
        self.install(generation, runs)
    }

    /// Drops what lies below a position, all of it already out of reach.
    pub(crate) fn drop_below(&self, position: u64) -> io::Result<()> {
        let mut generation = self.changes.lock();
        self.start.fetch_max(position, Ordering::AcqRel);
        let runs = self.runs.load();
        if runs.iter().any(|run| run.span().to <= position) {
            let kept = runs
                .iter()
                .filter(|run| run.span().to > position)
                .cloned()
                .collect();
            // An index without runs must still remember where it ends.
            self.end.fetch_max(position, Ordering::AcqRel);
            self.install(&mut generation, kept)?;
        }
        Ok(())
    }

    /// The oldest offset of a queue that a run holds and whose record is still in the log.
    pub(crate) fn first_offset(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<i64>, RunDamaged> {
        let start = self.start();
        for run in self.runs.load().iter() {
            let Some(chunk) = run.find(topic, queue_id)? else {
                continue;
            };
            let skip = below(run, &chunk, start)?;
            if skip < chunk.count {
                return Ok(Some(chunk.first_offset + i64::from(skip)));
            }
        }
        Ok(None)
    }

    /// Number of runs, their bytes on disk.
    pub(crate) fn size(&self) -> (usize, u64) {
        let runs = self.runs.load();
        (runs.len(), runs.iter().map(|run| run.file_bytes()).sum())
    }
}

/// How many entries of a chunk lie below a position.
pub(crate) fn below(run: &Run, chunk: &Chunk, position: u64) -> Result<u32, RunDamaged> {
    if run.span().from >= position {
        return Ok(0);
    }
    let (mut low, mut high) = (0, chunk.count);
    while low < high {
        let middle = u32::midpoint(low, high);
        if run.entry(chunk, middle)?.position < position {
            low = middle + 1
        } else {
            high = middle
        }
    }
    Ok(low)
}

/// Runs found by name: newest number first where they overlap, and only as long as they follow each other.
fn adopt(found: &[RunName]) -> Manifest {
    let mut sorted = found.to_vec();
    // At one place the widest first: a merged run replaces its parts.
    sorted.sort_by(|a, b| {
        a.span
            .from
            .cmp(&b.span.from)
            .then(b.span.to.cmp(&a.span.to))
            .then(b.number.cmp(&a.number))
    });
    let mut runs: Vec<RunName> = Vec::new();
    for run in sorted {
        match runs.last() {
            Some(last) if run.span.from != last.span.to => {}
            _ => runs.push(run),
        }
    }
    Manifest {
        generation: found.iter().map(|run| run.number).max().unwrap_or(0),
        runs,
    }
}
