//! Taking a backup of a running broker.
//!
//! ```text
//! note ──► begin ──► tables ──► which parts are there already? ──► the others, one after the other ──► manifest ──► note goes
//! ```
//! Whatever interrupts it, what was put into the place stays, and the next run continues behind it. A part is read while the one before it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use jiff::Timestamp;
use rmq_protocol::bodies::BackupBegun;
use rmq_protocol::message::{BLANK_MAGIC, LogPosition};
use rmq_store::{Epoch, InstallError, SnapshotCheck, SnapshotHeader, check_log};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::look;
use crate::manifest::{EpochOf, Manifest, PartOf, TablesOf, hex, sha256};
use crate::part::{self, HEAD_BYTES, Head, PART_BYTES_MAX, PartName, Sealed};
use crate::place::{Place, PlaceError};
use crate::progress::Progress;
use crate::reuse::{self, There};
use crate::running::{Kind, NotBegun, Running};
use crate::source::Source;

/// Bytes of the log that one request asks for: at first, and at most. It grows while answers are quick.
const ASK_BYTES: (usize, usize) = (1 << 20, 4 << 20);
/// An answer that takes longer than the first is not quick, and than the second is slow.
const QUICK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// The least that is asked for, bytes.
const ASK_BYTES_MIN: usize = 64 << 10;
/// Bytes of a file with tables.
const TABLES_BYTES: usize = 16 << 20;

/// How a backup is taken.
#[derive(Debug, Clone, Copy)]
pub struct TakeOptions {
    /// Bytes of a part of the log: what an interruption loses at most, and half of the memory that is used.
    pub part_bytes: usize,
    /// The broker gives no more bytes a second; `None`: as many as it can.
    pub bytes_per_second: Option<u64>,
}

impl Default for TakeOptions {
    fn default() -> Self {
        Self {
            part_bytes: 64 << 20,
            bytes_per_second: None,
        }
    }
}

/// A backup that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What it has.
    pub manifest: Manifest,
    /// Parts of the log that were written now.
    pub sent_parts: usize,
    /// Bytes of the log that were there already.
    pub reused_bytes: u64,
    /// Bytes of the log, the oldest, that are not in it: segments of another size lie there, which a restored store cannot have.
    pub left_out_bytes: u64,
}

/// Why no backup is taken. What was written stays, and the next run continues behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError<E: std::error::Error + 'static> {
    /// The broker does not give what is asked.
    #[error("cannot {doing}: {source}")]
    Source {
        /// What was asked.
        doing: &'static str,
        /// What the broker says.
        #[source]
        source: E,
    },
    /// The place does not take what is written.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Somebody removes backups there.
    #[error("{0}")]
    Busy(Fault),
    /// What the broker gave is not intact.
    #[error("the broker's data are damaged: {0}; copy another member of the group")]
    Damaged(Fault),
    /// The tables that the broker gave are none.
    #[error("the broker's tables cannot be used: {0}")]
    Tables(#[from] InstallError),
    /// The segment that the broker writes is larger than those of a restored store would be.
    #[error(
        "the broker's segment from position {segment} has more than {segment_bytes} bytes, which is the size of new ones (segmentBytes): take the backup when the next segment has begun"
    )]
    Segment {
        /// Where the segment begins.
        segment: u64,
        /// Size of new segments.
        segment_bytes: u64,
    },
    /// The broker gave something else than was asked.
    #[error("the broker gave something else than was asked: {0}")]
    Answer(&'static str),
}

impl<E: std::error::Error + 'static> From<NotBegun> for TakeError<E> {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::Place(error) => Self::Place(error),
            NotBegun::Other(fault) => Self::Busy(fault),
        }
    }
}

/// Takes a backup of what is confirmed now.
///
/// # Errors
/// See [`TakeError`].
pub async fn take<S: Source>(
    source: &mut S,
    place: &Place,
    options: &TakeOptions,
    progress: &dyn Progress,
) -> Result<Taken, TakeError<S::Error>> {
    let began = Timestamp::now();
    let begun = source.begin().await.map_err(from("begin a copy"))?;
    let id = format!(
        "{}{:03}Z",
        began.strftime("%Y%m%dT%H%M%S"),
        began.subsec_millisecond()
    );
    let running = Running::begin(place, &begun.group, Kind::Backup, &id).await;
    let taken = match running {
        Err(error) => Err(error.into()),
        Ok(running) => {
            let mut taking = Taking {
                source: &mut *source,
                place,
                progress,
                part_bytes: options.part_bytes.clamp(1, PART_BYTES_MAX),
                pace: Pace::new(options.bytes_per_second),
                ask_bytes: ASK_BYTES.0,
                id,
                begun,
            };
            let taken = running.during(place, taking.all(began)).await;
            // A note that stays keeps others from removing backups for a few minutes, and nothing else.
            let _ = running.end(place).await;
            taken
        }
    };
    // It ends by itself when this does not arrive.
    let _ = source.end().await;
    taken
}

fn from<E: std::error::Error + 'static>(doing: &'static str) -> impl FnOnce(E) -> TakeError<E> {
    move |source| TakeError::Source { doing, source }
}

/// No more than so many bytes a second, from its beginning on.
struct Pace {
    bytes_per_second: Option<u64>,
    began: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            began: Instant::now(),
            bytes: 0,
        }
    }

    /// When the next bytes may come, so many having come.
    fn next(&mut self, bytes: usize) -> Option<Instant> {
        self.bytes += bytes as u64;
        let rate = self.bytes_per_second?;
        Some(self.began + Duration::from_secs_f64(self.bytes as f64 / rate as f64))
    }
}

struct Taking<'a, S> {
    source: &'a mut S,
    place: &'a Place,
    progress: &'a dyn Progress,
    part_bytes: usize,
    pace: Pace,
    ask_bytes: usize,
    id: String,
    begun: BackupBegun,
}

/// What was copied of the log, and what was there.
#[derive(Default)]
struct CopiedLog {
    /// By where they begin.
    parts: BTreeMap<u64, PartOf>,
    sent_parts: usize,
    sent_bytes: u64,
    reused_bytes: u64,
}

/// A part that was read: where it ends, and its bytes with room for the head.
struct Read {
    to: u64,
    bytes: Vec<u8>,
}

impl<S: Source> Taking<'_, S> {
    async fn all(&mut self, began: Timestamp) -> Result<Taken, TakeError<S::Error>> {
        let (header, rows, tables) = self.tables().await?;
        if header.position.0 != self.begun.position || header.begins.0 != self.begun.begins {
            return Err(TakeError::Answer("the tables are those of another copy"));
        }
        let (lineage, there) = self.there(&header.epochs).await?;
        let copied = self.log(&lineage, &header, &there).await?;
        let mut log: Vec<PartOf> = copied.parts.into_values().collect();
        let begins = begins(&log, &header).map_err(|segment| TakeError::Segment {
            segment,
            segment_bytes: header.segment_bytes,
        })?;
        log.retain(|part| part.from >= begins);
        let manifest = Manifest {
            format: Manifest::FORMAT,
            id: self.id.clone(),
            cluster: self.begun.cluster.clone(),
            group: self.begun.group.clone(),
            member: self.begun.member.0,
            incarnation: self.begun.incarnation.to_string(),
            from_master: self.begun.is_master,
            began,
            ended: Timestamp::now(),
            position: header.position.0,
            begins,
            segment_bytes: header.segment_bytes,
            epochs: header
                .epochs
                .iter()
                .map(|epoch| EpochOf {
                    number: epoch.number,
                    first: epoch.first.0,
                })
                .collect(),
            rows,
            tables,
            lineage,
            log,
            sent_bytes: copied.sent_bytes,
        };
        let name = format!("{}/backups/{}.json", self.begun.group, self.id);
        let file = Bytes::from(manifest.write());
        self.place.storage().put(&name, file).await?;
        Ok(Taken {
            manifest,
            sent_parts: copied.sent_parts,
            reused_bytes: copied.reused_bytes,
            left_out_bytes: begins - header.begins.0,
        })
    }

    /// Copies the tables.
    async fn tables(
        &mut self,
    ) -> Result<(SnapshotHeader, u64, Vec<TablesOf>), TakeError<S::Error>> {
        self.progress.begins("tables", 0);
        let mut check = SnapshotCheck::default();
        let mut files = Vec::new();
        let mut file = Vec::new();
        for number in 0.. {
            let chunk = self.source.tables(number).await;
            let chunk = chunk.map_err(from("copy the tables"))?;
            self.progress.moved(chunk.len() as u64);
            if !chunk.is_empty() {
                check.take(&chunk)?;
                file.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
                file.extend_from_slice(&chunk);
            }
            if (chunk.is_empty() || file.len() >= TABLES_BYTES) && !file.is_empty() {
                let name = format!("{:04}", files.len());
                let full = format!("{}/tables/{}/{name}", self.begun.group, self.id);
                let bytes = Bytes::from(std::mem::take(&mut file));
                files.push(TablesOf {
                    name,
                    bytes: bytes.len() as u64,
                    sha256: sha256(&bytes),
                });
                self.place.storage().put(&full, bytes).await?;
            }
            if chunk.is_empty() {
                break;
            }
        }
        let (header, rows) = check.finish()?;
        Ok((header, rows, files))
    }

    fn folder(&self) -> String {
        format!("{}/log", self.begun.group)
    }

    /// The folder of the parts, and those in it that are of this log, by where they begin.
    async fn there(
        &mut self,
        epochs: &[Epoch],
    ) -> Result<(String, BTreeMap<u64, There>), TakeError<S::Error>> {
        let folder = self.folder();
        let entries = self.place.storage().list(&folder).await?;
        let lineages = reuse::by_lineage(&folder, &entries);
        let mut names: Vec<&String> = lineages.keys().collect();
        if let Some(Ok(newest)) = look::newest(self.place, &self.begun.group).await? {
            // Most likely that one.
            names.sort_by_key(|name| **name != newest.lineage);
        }
        let (begins, position) = (self.begun.begins, self.begun.position);
        for name in names {
            let parts = lineages.get(name).map(Vec::as_slice).unwrap_or_default();
            let fitting = reuse::fitting(parts, begins, position, epochs);
            let fitting = self.of_this_log(name, fitting).await?;
            if !fitting.is_empty() {
                return Ok((name.clone(), fitting));
            }
        }
        let own = self.begun.incarnation.to_string();
        let others = (2..).map(|number| format!("{own}-{number}"));
        let mut names = std::iter::once(own.clone()).chain(others);
        let free = names.find(|name| !lineages.contains_key(name));
        Ok((free.unwrap_or(own), BTreeMap::new()))
    }

    /// The parts, if they are of the broker's log. The epochs of two groups may look the same: the newest record of the parts must be there too.
    async fn of_this_log(
        &mut self,
        lineage: &str,
        mut fitting: BTreeMap<u64, There>,
    ) -> Result<BTreeMap<u64, There>, TakeError<S::Error>> {
        let mut without_records = Vec::new();
        while let Some((_, last)) = fitting.last_key_value() {
            let (last, name) = (*last, last.name);
            let full = format!("{}/{lineage}/{name}", self.folder());
            let bytes = self.place.storage().get(&full).await?;
            let opened = match Head::read(&bytes) {
                Ok(head) => part::open(&bytes, name, head.sha256),
                Err(says) => Err(says.to_owned()),
            };
            let Ok((_, checked)) = opened else {
                // Damaged: it is written again.
                fitting.remove(&name.from);
                continue;
            };
            let Some((at, length)) = checked.last else {
                // Only the end of a segment: what comes before it says whose it is.
                without_records.push(last);
                fitting.remove(&name.from);
                continue;
            };
            let begin = HEAD_BYTES + (at.0 - name.from) as usize;
            let theirs = bytes.get(begin..begin + length).unwrap_or_default();
            let ours = match self.source.log(at.0, self.begun.begins, length).await {
                Ok((ours, _)) => ours,
                // No record begins there.
                Err(error) if S::is_refusal(&error) => Bytes::new(),
                Err(error) => {
                    return Err(from("compare the log with the parts that are there")(error));
                }
            };
            if ours.get(..length) != Some(theirs) {
                return Ok(BTreeMap::new());
            }
            fitting.extend(without_records.iter().map(|part| (part.name.from, *part)));
            return Ok(fitting);
        }
        Ok(fitting)
    }

    /// The parts of the newest backup, if it has this lineage.
    async fn in_newest(
        &self,
        lineage: &str,
    ) -> Result<BTreeMap<PartName, PartOf>, TakeError<S::Error>> {
        let newest = look::newest(self.place, &self.begun.group).await?;
        let newest = newest.and_then(Result::ok);
        let newest = newest.filter(|newest| newest.lineage == lineage);
        let parts = newest.into_iter().flat_map(|newest| newest.log);
        Ok(parts.map(|part| (part.name(), part)).collect())
    }

    /// A part that is there already; `None`: its head does not say what its name says.
    async fn known(
        &self,
        lineage: &str,
        there: There,
        in_newest: &BTreeMap<PartName, PartOf>,
    ) -> Result<Option<PartOf>, TakeError<S::Error>> {
        if let Some(part) = in_newest.get(&there.name)
            && part.bytes == there.bytes
        {
            return Ok(Some(part.clone()));
        }
        // Of another backup, or of a run that was interrupted.
        let full = format!("{}/{lineage}/{}", self.folder(), there.name);
        let head = self.place.storage().head(&full, HEAD_BYTES as u64).await?;
        let head = Head::read(&head).ok().filter(|head| {
            head.name == there.name && head.bytes + HEAD_BYTES as u64 == there.bytes
        });
        Ok(head.map(|head| of(&head.name, head.sha256, there.bytes)))
    }

    /// Copies the log where the place does not have it.
    async fn log(
        &mut self,
        lineage: &str,
        header: &SnapshotHeader,
        there: &BTreeMap<u64, There>,
    ) -> Result<CopiedLog, TakeError<S::Error>> {
        let in_newest = self.in_newest(lineage).await?;
        let (mut at, end) = (header.begins.0, header.position.0);
        self.progress.begins("log", reuse::lacking(there, at, end));
        let mut copied = CopiedLog::default();
        let mut writing: Option<(Read, PartName)> = None;
        loop {
            while let Some(part) = there.get(&at) {
                let Some(part) = self.known(lineage, *part, &in_newest).await? else {
                    break;
                };
                copied.reused_bytes += part.to - part.from;
                at = part.to;
                copied.parts.insert(part.from, part);
            }
            let stop = reuse::next_from(there, at, end);
            let before = writing.take();
            let place = self.place;
            let folder = format!("{}/{lineage}", self.folder());
            let write = async {
                match before {
                    Some((read, name)) => put(place, &folder, read, name).await.map(Some),
                    None => Ok(None),
                }
            };
            let read = async {
                match at < end {
                    true => self.read(at, stop).await.map(Some),
                    false => Ok(None),
                }
            };
            let (written, read) = join(write, read).await;
            if let Some(sealed) = written? {
                let part = of(&sealed.name, sealed.sha256, sealed.bytes.len() as u64);
                copied.sent_parts += 1;
                copied.sent_bytes += part.bytes;
                copied.parts.insert(part.from, part);
            }
            let Some(read) = read? else {
                return Ok(copied);
            };
            let name = PartName::of(at, read.to, &header.epochs);
            let name = name.ok_or(TakeError::Answer("no epoch has the beginning of the log"))?;
            at = read.to;
            writing = Some((read, name));
        }
    }

    /// Reads a part: up to its size, or the end of the segment.
    async fn read(&mut self, from_position: u64, end: u64) -> Result<Read, TakeError<S::Error>> {
        let mut bytes = part::begin();
        let mut at = from_position;
        while at < end {
            let room = (self.part_bytes + HEAD_BYTES).saturating_sub(bytes.len());
            if room == 0 {
                break;
            }
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let asked = Instant::now();
            let (piece, next) = self
                .source
                .log(at, from_position, room.min(left).min(self.ask_bytes))
                .await
                .map_err(from("copy the log"))?;
            if piece.is_empty() || next <= at || next > end {
                return Err(TakeError::Answer("it has no log where the copy has some"));
            }
            // A longer record came alone: it is for the next part, unless this one has nothing.
            if piece.len() > room && bytes.len() > HEAD_BYTES {
                break;
            }
            self.learn(asked.elapsed());
            self.progress.moved(next - at);
            let ends_segment = ends_segment(&piece, at, next);
            bytes.extend_from_slice(&piece);
            at = next;
            if let Some(then) = self.pace.next(piece.len()) {
                tokio::time::sleep_until(then).await;
            }
            if ends_segment {
                break;
            }
        }
        Ok(Read { to: at, bytes })
    }

    /// Asks for more while answers are quick, for less when they are slow.
    fn learn(&mut self, took: Duration) {
        if took < QUICK.0 {
            self.ask_bytes = (2 * self.ask_bytes).min(ASK_BYTES.1);
        } else if took > QUICK.1 {
            self.ask_bytes = (self.ask_bytes / 2).max(ASK_BYTES_MIN);
        }
    }
}

/// Checks a part and writes it.
async fn put<E: std::error::Error + 'static>(
    place: &Place,
    folder: &str,
    read: Read,
    name: PartName,
) -> Result<Sealed, TakeError<E>> {
    let sealed = tokio::task::spawn_blocking(move || part::seal(read.bytes, name)).await;
    let sealed = sealed.unwrap_or_else(|error| Err(Fault::new("a part", error.to_string())));
    let sealed = sealed.map_err(TakeError::Damaged)?;
    let full = format!("{folder}/{name}");
    place.storage().put(&full, sealed.bytes.clone()).await?;
    Ok(sealed)
}

fn of(name: &PartName, sha256: [u8; 32], bytes: u64) -> PartOf {
    PartOf {
        from: name.from,
        to: name.to,
        epoch: name.epoch,
        epoch_first: name.epoch_first,
        bytes,
        sha256: hex(&sha256),
    }
}

/// Whether a piece has the end of its segment. A piece that does not is whole records.
fn ends_segment(piece: &[u8], from: u64, next: u64) -> bool {
    let may_be_filler = piece.ends_with(&BLANK_MAGIC.to_be_bytes());
    next != from + piece.len() as u64
        || (may_be_filler
            && check_log(LogPosition(from), piece).is_ok_and(|checked| checked.ends_segment))
}

/// Where the log of a backup begins: behind the last segment that has another size than new ones have. `Err`: the newest one is larger, which a restored
/// store cannot have.
fn begins(log: &[PartOf], header: &SnapshotHeader) -> Result<u64, u64> {
    let (mut begins, mut segment) = (header.begins.0, header.begins.0);
    for part in log {
        let has_filler = part.to - part.from + HEAD_BYTES as u64 > part.bytes;
        let is_full = part.to - segment == header.segment_bytes;
        if has_filler || is_full {
            if !is_full {
                begins = part.to;
            }
            segment = part.to;
        }
    }
    match header.position.0 - segment > header.segment_bytes {
        true => Err(segment),
        false => Ok(begins),
    }
}
