//! Opening a store, step by step: lock, format, segments, watermark, derived files, replay, cut.
//!
//! The replay reads the log from where the derived files end. What is not an intact record ends the log if it lies above the
//! durable watermark and nothing follows it: it was never promised, and is cut. Below the watermark, or where records follow or the
//! disk does not give what follows, it is damage (decision 0010): it is reported, and the records after it are found again by the
//! position that each carries. A follower is cut above the watermark also where records follow: it copies them again.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rmq_protocol::message::RecordView;

use crate::commit_log::{Content, DamagedRange, Files, Found, Role, Window};
use crate::config::StoreConfig;
use crate::derived::{Dispatcher, Entry};
use crate::epochs::Epochs;
use crate::fs::{FoldersSynced, Fs, Lock};
use crate::incarnation;
use crate::install_mark::{self, InstallMark};
use crate::layout;
use crate::log_reader::LogReader;
use crate::open_error::OpenError;
use crate::segment::Segment;

/// Entries are dispatched in batches of this size while replaying.
const REPLAY_BATCH: usize = 4_096;
/// Folders of a store: log, index, and the one that has both.
const OWN_FOLDERS: usize = 3;
/// So much of a damaged format line is shown, characters.
const FORMAT_SHOWN_MAX: usize = 64;
/// A format line is shorter.
const FORMAT_BYTES_MAX: u64 = 4_096;

/// What was found when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Position of the oldest record.
    pub start: u64,
    /// End of the log.
    pub end: u64,
    /// Whether the store is new or had been closed, and did not just end.
    pub was_closed: bool,
    /// Bytes of log that were read.
    pub replayed_bytes: u64,
    /// Records that were read.
    pub replayed_records: u64,
    /// Bytes after the end that were not intact, and so were never acknowledged as durable; at most 4 MiB of a segment are counted.
    pub cut_bytes: u64,
    /// What of the log is damaged, as far as it is known.
    pub damaged: Vec<DamagedRange>,
    /// What an earlier start could not read, and this one could: its messages are served again.
    pub read_again: Vec<DamagedRange>,
    /// Derived files that were missing or damaged and were made again from the log, in words.
    pub rebuilt: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Takes the lock; fails with who has it.
pub(crate) fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Lock>, OpenError> {
    fs.create_dir_all(&layout::log(dir))
        .map_err(OpenError::io("create the folder", dir))?;
    fs.create_dir_all(&layout::index(dir))
        .map_err(OpenError::io("create the folder", dir))?;
    let path = layout::lock(dir);
    let holder = format!("process {}\n", std::process::id());
    fs.lock(&path, &holder).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked {
                path: path.clone(),
                holder: source.to_string(),
            }
        } else {
            OpenError::Io {
                doing: "lock",
                path: path.clone(),
                source,
            }
        }
    })
}

/// The names that this life finds, on their way to the disk. The life before may have ended between a rename and the sync of its folder,
/// and what this life acknowledges or removes must not rest on a name that a power cut takes back.
pub(crate) struct Names {
    /// None when they are durable.
    synced: Option<FoldersSynced>,
    /// The last one is the folder that has the data folder's own name.
    folders: Vec<PathBuf>,
}

impl Names {
    /// Begins to make them durable.
    pub(crate) fn begin(fs: &dyn Fs, dir: &Path) -> Self {
        let mut folders = vec![layout::log(dir), layout::index(dir), dir.to_owned()];
        folders.extend(above(dir).map(Path::to_owned));
        Self {
            synced: Some(fs.sync_dirs(&folders)),
            folders,
        }
    }

    /// Waits until they are durable.
    pub(crate) fn settle(&mut self) -> Result<(), OpenError> {
        let Some(synced) = self.synced.take() else {
            return Ok(());
        };
        let mut outcomes = synced().into_iter().zip(&self.folders);
        for (outcome, folder) in outcomes.by_ref().take(OWN_FOLDERS) {
            outcome.map_err(OpenError::io("sync the folder", folder))?;
        }
        // Above it may lie what this process has no right to open.
        for (outcome, folder) in outcomes {
            if let Err(error) = outcome {
                tracing::warn!(folder = %folder.display(), %error, "the folder that holds the data folder cannot be synced");
            }
        }
        Ok(())
    }
}

fn above(dir: &Path) -> Option<&Path> {
    dir.parent().filter(|above| !above.as_os_str().is_empty())
}

/// Whether the start makes the store, or makes another one of it: its first files are not all there, or of an older format.
pub(crate) fn is_changed_by_start(fs: &dyn Fs, dir: &Path) -> Result<bool, OpenError> {
    let path = layout::install(dir);
    if fs.exists(&path).map_err(OpenError::io("look for", &path))? {
        return Ok(true);
    }
    let path = layout::format(dir);
    if !fs.exists(&path).map_err(OpenError::io("look for", &path))? {
        return Ok(true);
    }
    let bytes = fs.read(&path, FORMAT_BYTES_MAX);
    let bytes = bytes.map_err(OpenError::io("read", &path))?;
    Ok(String::from_utf8_lossy(&bytes).trim() != layout::FORMAT)
}

/// Finds what is left of making the store from a snapshot: nothing that counts is removed; or the tables are ahead of the log, as those at
/// the position that is returned.
pub(crate) fn installed(fs: &dyn Fs, dir: &Path, role: Role) -> Result<Option<u64>, OpenError> {
    let path = layout::install(dir);
    let mark = InstallMark::read(fs, dir).map_err(OpenError::io("read", &path))?;
    match (mark, role) {
        (None, _) => Ok(None),
        (Some(_), Role::Master) => Err(OpenError::Incomplete {
            dir: dir.to_owned(),
        }),
        (Some(InstallMark::Begun), Role::Follower) => {
            tracing::warn!(dir = %dir.display(), "the store was not made to the end; what is there is removed");
            install_mark::wipe(fs, dir).map_err(OpenError::io("empty", dir))?;
            InstallMark::remove(fs, dir).map_err(OpenError::io("remove", &path))?;
            Ok(None)
        }
        (Some(InstallMark::To(position)), Role::Follower) => Ok(Some(position)),
    }
}

/// Reads or writes the format line. A store of a format before this one becomes one of this format: its log is one epoch, and its data
/// get their number.
pub(crate) fn check_format(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let path = layout::format(dir);
    if fs.exists(&path).map_err(OpenError::io("look for", &path))? {
        let bytes = fs
            .read(&path, FORMAT_BYTES_MAX)
            .map_err(OpenError::io("read", &path))?;
        let found = String::from_utf8_lossy(&bytes);
        let found = found.trim();
        if found == layout::FORMAT {
            return Ok(());
        }
        if [
            layout::FORMAT_WITHOUT_EPOCHS,
            layout::FORMAT_WITHOUT_INCARNATION,
        ]
        .contains(&found)
        {
            // What is there and intact stays: the line may be what is damaged.
            if found == layout::FORMAT_WITHOUT_EPOCHS && !Epochs::is_intact(fs, dir)? {
                Epochs::create(fs, dir)?;
            }
            if !incarnation::is_intact(fs, dir)? {
                incarnation::create(fs, dir)?;
            }
            tracing::info!(dir = %dir.display(), "the store becomes one of format {}", layout::FORMAT);
            return write_format(fs, dir).map_err(OpenError::io("write", &path));
        }
        return Err(if layout::is_format(found) {
            OpenError::Version {
                path,
                found: found.to_owned(),
                known: layout::FORMAT,
            }
        } else {
            OpenError::FormatDamaged {
                path,
                found: found.chars().take(FORMAT_SHOWN_MAX).collect(),
                known: layout::FORMAT,
            }
        });
    }
    let names = fs
        .list(&layout::log(dir))
        .map_err(OpenError::io("list", dir))?;
    if !names.is_empty() {
        return Err(OpenError::NotWhole {
            dir: dir.to_owned(),
            problem: format!(
                "{} is missing but there are log files; restore it, or start in an empty folder",
                path.display()
            ),
        });
    }
    Epochs::create(fs, dir)?;
    incarnation::create(fs, dir)?;
    write_format(fs, dir).map_err(OpenError::io("write", &path))
}

pub(crate) fn write_format(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let path = layout::format(dir);
    let temporary = path.with_extension("new");
    let file = fs.create(&temporary)?;
    file.write_at(0, format!("{}\n", layout::FORMAT).as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs.crash_point("format.written");
    fs.rename(&temporary, &path)?;
    fs.sync_dir(dir)
}

/// Opens the segments; they must follow each other without a gap. Makes the first one of a new store.
pub(crate) fn open_segments(
    fs: &dyn Fs,
    config: &StoreConfig,
) -> Result<Vec<Arc<Segment>>, OpenError> {
    let dir = layout::log(&config.dir);
    let mut bases = Vec::new();
    for name in fs.list(&dir).map_err(OpenError::io("list", &dir))? {
        match layout::segment_base(&name) {
            Some(base) => bases.push(base),
            None => {
                let path = dir.join(&name);
                if name.ends_with(".new") {
                    // Left by a crash in the middle of making a segment.
                    fs.remove(&path).map_err(OpenError::io("remove", &path))?;
                } else {
                    return Err(OpenError::NotWhole {
                        dir,
                        problem: format!("{name} is not the name of a segment; move it elsewhere"),
                    });
                }
            }
        }
    }
    bases.sort_unstable();
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(bases.len().max(1));
    for base in bases {
        let path = layout::segment(&config.dir, base);
        let segment = Segment::open(fs, &path, base).map_err(OpenError::io("open", &path))?;
        if let Some(last) = segments.last()
            && last.end() != base
        {
            return Err(OpenError::NotWhole {
                dir,
                problem: format!(
                    "after the segment at {} the next should begin at {}, but there is {base}; restore what is missing",
                    last.base(),
                    last.end()
                ),
            });
        }
        if segment.end() == base {
            return Err(OpenError::NotWhole {
                dir,
                problem: format!("{} is empty", path.display()),
            });
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        let path = layout::segment(&config.dir, 0);
        segments.push(Segment::create(fs, &path, 0, config.segment_bytes)?);
    }
    Ok(segments)
}

/// Reads what the derived files do not have yet, and settles the end of the log. `closed_at` is where a store that was closed, or
/// is new, has ended: nothing was ever written above. A follower is shown what the derived files have, and the rest when it is told that it
/// is confirmed. What tables that are ahead of the log have is confirmed as well: `tables_at`.
pub(crate) fn replay(
    dir: &Path,
    files: &Files,
    dispatcher: &Dispatcher,
    watermark: u64,
    closed_at: Option<u64>,
    role: Role,
    tables_at: Option<u64>,
) -> Result<RecoveryReport, OpenError> {
    let began = Instant::now();
    let start = LogReader::start(files);
    let from = dispatcher.replay_from().max(start);
    let files_end = files.segments().last().map_or(0, |last| last.end());
    if from.max(watermark) > files_end {
        return Err(OpenError::NotWhole {
            dir: layout::log(dir),
            problem: format!(
                "it was durable up to position {}, but its files end at {files_end}; restore the newest files, or start in an empty folder",
                from.max(watermark)
            ),
        });
    }
    let mut report = RecoveryReport {
        start,
        end: from,
        was_closed: closed_at.is_some(),
        replayed_bytes: 0,
        replayed_records: 0,
        cut_bytes: 0,
        damaged: Vec::new(),
        read_again: files.readable_again(),
        rebuilt: dispatcher.rebuilt(),
        took: Duration::ZERO,
    };
    let confirmed = match role {
        Role::Master => None,
        Role::Follower => {
            let in_files = dispatcher.durable_log().max(start);
            Some(tables_at.map_or(in_files, |position| position.max(in_files)))
        }
    };
    let segments = files.segments();
    let is_read = |segment: &&Arc<Segment>| segment.end() > from.min(watermark);
    for segment in segments.iter().filter(is_read) {
        segment.grows();
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(REPLAY_BATCH);
    let mut newest_ms = dispatcher.newest_ms().unwrap_or(0);
    let mut position = from;
    let mut window = Window::default();
    let end = loop {
        let Some(segment) = files.segment(position) else {
            break position;
        };
        // A follower copies again what the power took in the middle of what was not flushed.
        let mut ends_here = false;
        let why = match window.look(&segment, position) {
            Found::Record(bytes) => {
                // It was checked a moment ago.
                if confirmed.is_none_or(|confirmed| position < confirmed)
                    && let Ok(record) = RecordView::parse(bytes)
                {
                    newest_ms = newest_ms.max(record.store_ms());
                    entries.push(dispatcher.entry_of(&record)?);
                }
                position += bytes.len() as u64;
                report.replayed_records += 1;
                if entries.len() >= REPLAY_BATCH {
                    dispatcher.apply(&mut entries, position);
                }
                continue;
            }
            Found::SegmentEnd => {
                position = segment.end();
                continue;
            }
            Found::Unreadable => "the disk does not give what lies there",
            Found::Nothing if position < watermark => {
                "below the durable watermark there is no intact record"
            }
            Found::Nothing => {
                ends_here = role == Role::Follower;
                "there is no intact record before others that are"
            }
        };
        // Nothing was ever written behind the end of a store that was closed.
        let is_behind = closed_at.is_some_and(|closed_at| closed_at <= position);
        let onward = if ends_here || (is_behind && position >= watermark) {
            Onward::End
        } else {
            onward(files, &mut window, position)
        };
        let next = match onward {
            Onward::Record(next) => next,
            Onward::Unreadable(end) => end.max(watermark),
            Onward::End if position < watermark => watermark,
            Onward::End => break position,
        };
        report_hole(files, position..next, dispatcher.heads_to(), why);
        position = next;
        if matches!(onward, Onward::End) {
            break position;
        }
    };
    dispatcher.apply(&mut entries, end);
    let confirmed = match tables_at {
        Some(_) => confirmed.map(|confirmed| confirmed.min(end)),
        None => confirmed,
    };
    report.end = end;
    report.replayed_bytes = end - from;
    report.damaged = files.damage();
    if closed_at != Some(end) {
        report.cut_bytes = cut(files, end)?;
    }
    write_again(files, watermark, end)?;
    for segment in segments.iter().filter(is_read) {
        match segment.end() > end {
            true => segment.ends_at(end),
            false => segment.is_full(),
        }
    }
    let marks = &files.positions;
    // What survived a crash may be in the page cache only; the next sync covers it.
    marks.begin(end, watermark.min(end), confirmed);
    marks.checked_from.store(from, Ordering::Release);
    marks.newest_ms.store(newest_ms, Ordering::Release);
    dispatcher.finish_replay(end, confirmed.unwrap_or(end))?;
    report.took = began.elapsed();
    Ok(report)
}

/// Makes everything after `end` read as zeros, durably, so that what is cut now can never come back behind later records. What may
/// be there can lie anywhere, so all of it is cleared, whether or not something is seen.
fn cut(files: &Files, end: u64) -> Result<u64, OpenError> {
    let mut cut = 0;
    for segment in files
        .segments()
        .iter()
        .filter(|segment| segment.end() > end)
    {
        let from = end.max(segment.base());
        cut += used_bytes(segment, from);
        let path = files.segment_path(segment.base());
        segment
            .clear_from(from)
            .map_err(OpenError::io("clear the end of", &path))?;
        files.crash_point("recovery.cut");
    }
    Ok(cut)
}

/// How the log goes on behind a position at which there is no intact record.
enum Onward {
    /// With a record there.
    Record(u64),
    /// No record can be read, and up to here there may be some: the disk does not give all of it.
    Unreadable(u64),
    /// Not at all.
    End,
}

/// Looks for what follows a position at which there is no intact record, to the end of the files. Where records follow, the log was
/// written there, and what is missing may have been acknowledged: a torn end has nothing behind it. What an earlier life has cut does
/// not follow: a cut clears all that lies behind it, durably, before anything is written. Nothing is ever written over what the disk
/// does not give: it may be what was acknowledged a moment before a crash.
fn onward(files: &Files, window: &mut Window, position: u64) -> Onward {
    for segment in files
        .segments()
        .iter()
        .filter(|segment| segment.end() > position)
    {
        let base = segment.base();
        if base > position && matches!(window.look(segment, base), Found::Record(_)) {
            return Onward::Record(base);
        }
        let found = window.resync(segment, base.max(position), segment.end());
        if let Some(next) = found {
            return Onward::Record(next);
        }
    }
    let unreadable = window.unreadable_end();
    if unreadable > position {
        Onward::Unreadable(unreadable)
    } else {
        Onward::End
    }
}

/// Reports what holds no intact record. Up to `heads_to` the heads of queues count the messages that were there.
fn report_hole(files: &Files, hole: Range<u64>, heads_to: u64, why: &str) {
    let known_to = heads_to.clamp(hole.start, hole.end);
    let parts = [
        (hole.start..known_to, Content::Unindexed),
        (known_to..hole.end, Content::Unseen),
    ];
    for (part, content) in parts {
        if !part.is_empty() {
            files.report_hole(part.start, part.end, content, why);
        }
    }
}

/// Writes what lies between the watermark and the end once more. If its sync failed in the life before, the system takes those pages
/// for clean although the disk never got them, and no sync would bring them there. What cannot be read is left alone.
fn write_again(files: &Files, watermark: u64, end: u64) -> Result<(), OpenError> {
    // Read into memory first: the source must not be the very pages that are written.
    let mut window = Window::default();
    let mut at = watermark;
    while at < end {
        let Some(segment) = files.segment(at) else {
            return Ok(());
        };
        let to = end.min(segment.end());
        let path = files.segment_path(segment.base());
        window
            .readable(&segment, at..to, |position, bytes| {
                segment.write(position, bytes)
            })
            .map_err(OpenError::io("write the end of", &path))?;
        at = to;
    }
    Ok(())
}

/// Bytes from `from` to the last one that is not zero, as far as it looks: this is for the report only.
fn used_bytes(segment: &Arc<Segment>, from: u64) -> u64 {
    const LOOK_BYTES: u64 = 4 << 20;
    let to = segment.written_to().min(from + LOOK_BYTES).max(from);
    let mut used = 0;
    let looked = Window::default().readable(segment, from..to, |at, bytes| {
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            used = at - from + last as u64 + 1;
        }
        Ok::<(), std::convert::Infallible>(())
    });
    looked.map_or(0, |()| used)
}
