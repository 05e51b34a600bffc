//! The segments of the log and how far each kind of progress has come; what readers, the dispatcher and retention share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Condvar, Mutex};
use rmq_protocol::message::RecordView;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use super::damage::{Content, Damage};
use super::progress::Progress;
use super::ranges::DamagedRange;
use super::spare::{Pace, Spare};
use super::window::Window;
use crate::config::StoreConfig;
use crate::disk_error::Effect;
use crate::error::{AppendError, ReadError};
use crate::fs::{Fs, Space};
use crate::health::Health;
use crate::layout;
use crate::log_reader::LogReader;
use crate::segment::Segment;
use crate::sync_times::SyncTimes;

/// The next try to make a segment after one failed, milliseconds.
const REFUSAL_RETRY_MS: i64 = 1_000;
/// Failed reads of pages after which a start takes the rest of what was damaged for damaged still.
const RETRIED_READS_MAX: u32 = 1_024;

/// Why a segment could not be made.
pub(super) enum NoSegment {
    /// It is tried again.
    Refuses(String),
    /// The disk fails.
    ReadOnly(String),
}

pub(crate) struct Files {
    pub(crate) fs: Arc<dyn Fs>,
    pub(super) config: StoreConfig,
    pub(crate) health: Arc<Health>,
    pub(crate) positions: Progress,
    /// Sorted by base, without gaps.
    pub(super) segments: ArcSwap<Vec<Arc<Segment>>>,
    /// Changes of the list, one at a time.
    changing: Mutex<()>,
    /// One sync at a time: the system reports a failed write to one caller only, and the other must not take it for durable.
    syncing: Mutex<()>,
    pub(super) spare: Mutex<Spare>,
    pub(super) spare_wanted: Condvar,
    pub(super) preparer: Mutex<Option<JoinHandle<()>>>,
    /// One segment is made at a time: the appender waits for the preparer instead of making the same file.
    pub(super) making: Mutex<()>,
    pub(super) pace: Mutex<Pace>,
    refusing_until_ms: Mutex<i64>,
    damage: Damage,
    confirmed_watch: watch::Sender<u64>,
    /// Whoever waits for progress was told of this much that is confirmed.
    confirmed_told: AtomicU64,
    /// Written, flushed or confirmed has moved.
    progressed: Notify,
    /// Something was found damaged that was not known to be.
    damage_found: Notify,
    pub(crate) sync_times: SyncTimes,
}

impl Files {
    pub(crate) fn new(fs: Arc<dyn Fs>, config: StoreConfig, segments: Vec<Arc<Segment>>) -> Self {
        Self {
            fs,
            positions: Progress::new(config.flush),
            config,
            health: Arc::default(),
            segments: ArcSwap::from_pointee(segments),
            changing: Mutex::default(),
            syncing: Mutex::default(),
            spare: Mutex::default(),
            spare_wanted: Condvar::new(),
            preparer: Mutex::default(),
            making: Mutex::default(),
            pace: Mutex::default(),
            refusing_until_ms: Mutex::new(0),
            damage: Damage::default(),
            confirmed_watch: watch::Sender::new(0),
            confirmed_told: AtomicU64::new(0),
            progressed: Notify::new(),
            damage_found: Notify::new(),
            sync_times: SyncTimes::default(),
        }
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    /// As [`segments`](Self::segments), for a moment: no counter that all readers share is touched.
    pub(crate) fn segments_now(&self) -> Guard<Arc<Vec<Arc<Segment>>>> {
        self.segments.load()
    }

    /// The segment that holds `position`; the first byte after the last segment belongs to none.
    pub(crate) fn segment(&self, position: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let index = segments.partition_point(|segment| segment.end() <= position);
        segments
            .get(index)
            .filter(|segment| segment.base() <= position)
            .cloned()
    }

    /// The segment that begins at `base`: prepared before, or made now. It is part of the log from then on.
    pub(crate) fn next_segment(&self, base: u64) -> Result<Arc<Segment>, AppendError> {
        // Prepared before a restart: it has been part of the log since recovery.
        if let Some(segment) = self.segment(base) {
            return Ok(segment);
        }
        if let Some(refusal) = self.health.refusal() {
            let until_ms = *self.refusing_until_ms.lock();
            // Bounded on both sides: a clock that was set back must not prolong it.
            if (until_ms - REFUSAL_RETRY_MS..until_ms).contains(&(self.config.now_ms)()) {
                return Err(refusal);
            }
        }
        let _making = self.making.lock();
        let prepared = self
            .spare
            .lock()
            .segment
            .take_if(|segment| segment.base() == base);
        let segment = match prepared {
            Some(segment) => segment,
            None => self.make_segment(base)?,
        };
        self.health.accept();
        self.add_segment(Arc::clone(&segment));
        Ok(segment)
    }

    fn make_segment(&self, base: u64) -> Result<Arc<Segment>, AppendError> {
        self.create_segment(base).map_err(|problem| match problem {
            NoSegment::Refuses(reason) => {
                *self.refusing_until_ms.lock() = (self.config.now_ms)() + REFUSAL_RETRY_MS;
                let error = self.health.refuse(reason);
                self.try_again();
                error
            }
            NoSegment::ReadOnly(reason) => self.health.poison(reason),
        })
    }

    /// Makes the file of a segment, which is no part of the log yet.
    pub(super) fn create_segment(&self, base: u64) -> Result<Arc<Segment>, NoSegment> {
        self.health
            .check_writable()
            .map_err(|error| NoSegment::ReadOnly(error.to_string()))?;
        let space = self.fs.space(&self.config.dir);
        match &space {
            Ok(space) if space.used_ratio() > self.config.disk_full_ratio => {
                return Err(NoSegment::Refuses(format!(
                    "more than {:.0} % of the disk are used ({}); free space, or shorten the retention",
                    self.config.disk_full_ratio * 100.0,
                    self.space_text(*space)
                )));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                "cannot ask for the free space of {}: {error}",
                self.config.dir.display()
            ),
        }
        let path = layout::segment(&self.config.dir, base);
        Segment::create(&*self.fs, &path, base, self.config.segment_bytes).map_err(|error| {
            match (error.effect(), space) {
                (Effect::ReadOnly, _) => NoSegment::ReadOnly(error.text()),
                (Effect::Refuses, Ok(space)) => {
                    NoSegment::Refuses(format!("{} ({})", error.text(), self.space_text(space)))
                }
                (Effect::Refuses, Err(_)) => NoSegment::Refuses(error.text()),
            }
        })
    }

    fn space_text(&self, space: Space) -> String {
        format!(
            "{} has {} of {} MiB free",
            self.config.dir.display(),
            space.free >> 20,
            space.total >> 20
        )
    }

    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        let _changing = self.changing.lock();
        let mut segments = Vec::clone(&self.segments.load());
        segments.push(segment);
        self.segments.store(Arc::new(segments));
    }

    /// Takes the segments below `position` off the log. Readers that hold them can still read them.
    pub(crate) fn take_below(&self, position: u64) -> Vec<Arc<Segment>> {
        let _changing = self.changing.lock();
        let segments = self.segments.load();
        let (gone, kept): (Vec<_>, Vec<_>) = segments
            .iter()
            .cloned()
            .partition(|segment| segment.end() <= position);
        self.segments.store(Arc::new(kept));
        gone
    }

    /// Makes everything written below `end` durable. The first failure poisons the store.
    pub(crate) fn sync_up_to(&self, end: u64) -> Result<(), AppendError> {
        let _syncing = self.syncing.lock();
        let began = Instant::now();
        self.health.check_writable()?;
        // A truncation may have come first.
        let end = end.min(self.positions.written.load(Ordering::Acquire));
        let from = self.positions.flushed.load(Ordering::Acquire);
        for segment in self.segments.load().iter() {
            if segment.end() > from
                && segment.base() < end
                && let Err(error) = segment.sync()
            {
                return Err(self.health.poison(format!(
                    "syncing the log up to position {end} in {} failed: {error}",
                    self.segment_path(segment.base()).display()
                )));
            }
        }
        self.sync_times.add(began.elapsed());
        self.crash_point("log.synced");
        self.positions.flushed.fetch_max(end, Ordering::AcqRel);
        self.progressed.notify_waiters();
        Ok(())
    }

    /// The log is written up to `end`. Whoever waits for it is [told](Self::announce_written) afterwards.
    pub(super) fn written(&self, end: u64) {
        self.positions.written.store(end, Ordering::Release);
    }

    /// Something was written, and `confirmed` was confirmed by then. `is_taken`: whoever waits for progress knows that already.
    pub(super) fn announce_written(&self, confirmed: u64, is_taken: bool) {
        self.confirmed_told.fetch_max(confirmed, Ordering::AcqRel);
        if !is_taken {
            self.progressed.notify_waiters();
        }
        self.announce_confirmed();
    }

    /// Waits for the next progress of written, flushed or confirmed.
    pub(crate) fn progressed(&self) -> Notified<'_> {
        self.progressed.notified()
    }

    /// The log is cut at `position`.
    pub(super) fn lower(&self, position: u64) {
        let _syncing = self.syncing.lock();
        self.positions.cut_at(position);
    }

    pub(crate) fn announce_confirmed(&self) {
        let confirmed = self.positions.confirmed.load(Ordering::Acquire);
        if self.confirmed_told.fetch_max(confirmed, Ordering::AcqRel) < confirmed {
            self.progressed.notify_waiters();
        }
        if self.confirmed_watch.receiver_count() > 0 {
            let now = self.positions.confirmed.load(Ordering::Acquire);
            self.confirmed_watch.send_if_modified(|last| {
                let is_news = *last < now;
                *last = now.max(*last);
                is_news
            });
        }
    }

    pub(crate) fn watch_confirmed(&self) -> watch::Receiver<u64> {
        let receiver = self.confirmed_watch.subscribe();
        // A receiver that was the first may have missed the last announcement.
        self.announce_confirmed();
        receiver
    }

    pub(crate) fn crash_point(&self, name: &'static str) {
        self.fs.crash_point(name);
    }

    /// Notes a stretch whose records the index knows and that cannot be read; logged when it was not known.
    pub(crate) fn report_damage(&self, from: u64, to: u64, why: &str) {
        self.report_hole(from, to, Content::Indexed, why);
    }

    /// As [`report_damage`](Self::report_damage), for what is read front to back.
    pub(crate) fn report_hole(&self, from: u64, to: u64, content: Content, why: &str) {
        if self.damage.add(from, to, content) {
            tracing::error!(
                from,
                to,
                "the log is damaged: {why}; its other messages are served"
            );
            self.damage_found.notify_waiters();
        }
    }

    /// Notes what earlier lives knew to be damaged. It is read again: a disk may give now what it did not give then, and a file may
    /// have been restored.
    pub(crate) fn load_damage(&self) {
        let start = LogReader::start(self);
        let noted = Damage::load(&*self.fs, &layout::damage(&self.config.dir));
        let mut window = Window::with_failures(RETRIED_READS_MAX);
        // Below the start lies what was removed by retention, or by hand: that ends where the log begins.
        for range in noted
            .damaged
            .list()
            .into_iter()
            .filter(|range| range.to >= start)
        {
            let left = self.survey(&mut window, range);
            for part in &left {
                let (from, to) = (part.from, part.to);
                self.report_damage(from, to, "known since an earlier start");
                for part in noted.unindexed.within(*part) {
                    self.damage.add(part.from, part.to, Content::Unindexed);
                }
                for part in noted.unseen.within(*part) {
                    self.damage.add(part.from, part.to, Content::Unseen);
                }
            }
            if left == [range] {
                continue;
            }
            tracing::info!(
                from = range.from,
                to = range.to,
                "the log was damaged and can be read again, in part at least"
            );
            self.damage.set_changed();
            for part in noted.unindexed.within(range) {
                self.damage.add_again(part, Content::Unindexed);
            }
            for part in noted.unseen.within(range) {
                self.damage.add_again(part, Content::Unseen);
            }
        }
    }

    /// Keeps what is known for the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_damage(&self) -> io::Result<()> {
        let path = layout::damage(&self.config.dir);
        self.damage.store(&*self.fs, &path).inspect_err(|error| {
            tracing::warn!("cannot write {}: {error}", path.display());
        })
    }

    /// Keeps what the replay has found before anything rests on it. Where the next start would not know of messages that nobody has
    /// seen, nothing may be written: it would give their offsets again.
    pub(crate) fn settle_damage(&self) {
        if let Err(error) = self.store_damage()
            && self.damage.has_unseen()
        {
            let path = layout::damage(&self.config.dir);
            self.health.poison(format!(
                "a part of the log cannot be read, and {} cannot be written: {error}",
                path.display()
            ));
        }
    }

    /// Some of the log was never read by any life.
    pub(crate) fn has_unseen(&self) -> bool {
        self.damage.has_unseen()
    }

    /// The index and the tables on the disk have what can be read again.
    pub(crate) fn taken_again(&self) {
        self.damage.taken_again();
        // Not being able to costs the next start the same work.
        let _ = self.store_damage();
    }

    /// What lies below `position` is removed.
    pub(crate) fn forget_damage_below(&self, position: u64) {
        self.damage.forget_below(position);
        // What is gone is forgotten by the next start as well.
        let _ = self.store_damage();
    }

    /// What lies at or above `position` is cut off.
    pub(super) fn forget_damage_from(&self, position: u64) {
        self.damage.forget_from(position);
        // What is read as zeros there would be taken for damage again, and is no part of the log.
        let _ = self.store_damage();
    }

    /// A range was written again, but for what is `left`. Returns whether the next start has to take some of it into the index.
    pub(super) fn damage_mended(&self, range: DamagedRange, left: &[DamagedRange]) -> bool {
        self.damage.mended(range, left)
    }

    /// Waits for damage that is not known yet.
    pub(crate) fn damage_found(&self) -> Notified<'_> {
        self.damage_found.notified()
    }

    pub(crate) fn damage(&self) -> Vec<DamagedRange> {
        self.damage.ranges()
    }

    pub(super) fn outside(&self, position: u64) -> ReadError {
        let start = LogReader::start(self);
        if position < start {
            ReadError::Removed { position, start }
        } else {
            ReadError::BeyondEnd {
                position,
                end: self.positions.confirmed.load(Ordering::Acquire),
            }
        }
    }

    pub(crate) fn segment_path(&self, base: u64) -> PathBuf {
        layout::segment(&self.config.dir, base)
    }
}

impl LogReader for Files {
    fn visit(&self, position: u64, visit: &mut dyn FnMut(&[u8])) -> bool {
        match self.intact_record(position) {
            Ok(slice) => {
                visit(&slice);
                true
            }
            Err(_) => false,
        }
    }

    fn store_time(&self, position: u64) -> Option<i64> {
        let slice = self.intact_record(position).ok()?;
        RecordView::parse(&slice)
            .ok()
            .map(|record| record.store_ms())
    }

    fn start(&self) -> u64 {
        self.segments
            .load()
            .first()
            .map_or(0, |segment| segment.base())
    }

    fn segment_end(&self, position: u64) -> u64 {
        self.segment(position)
            .map_or(position, |segment| segment.end())
    }

    fn make_durable(&self, up_to: u64) -> io::Result<()> {
        if self.positions.flushed.load(Ordering::Acquire) >= up_to {
            return Ok(());
        }
        self.sync_up_to(up_to)
            .map_err(|error| io::Error::other(error.to_string()))
    }

    fn scan(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> io::Result<()> {
        self.scan_records(from, to, visit);
        Ok(())
    }

    fn readable_again(&self) -> Vec<DamagedRange> {
        self.damage.again()
    }

    fn records_unseen_from(&self, position: u64) -> i64 {
        self.damage.records_unseen_from(position)
    }
}
