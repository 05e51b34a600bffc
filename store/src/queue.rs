//! One queue of one topic: the offset counter, the visible range and the recent entries.
//!
//! A [`QueueRef`] is looked up once and kept by the user of the queue; the message path works on it without another
//! look-up. An idle queue costs one allocation of about 130 bytes plus its place in the table of queues; queues that nobody touched
//! since the start are not in memory at all (their heads lie in the tables).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};

use parking_lot::Mutex;

use crate::index::recent::Recent;

/// A queue of a topic. Cheap to clone; two clones of one queue are equal.
#[derive(Clone)]
pub struct QueueRef(Arc<Queue>);

/// No message of a queue is kept beyond its segment.
const NOTHING_KEPT: i64 = i64::MAX;

pub(crate) struct Queue {
    topic: Arc<str>,
    id: i32,
    /// Somebody waits for the next message of this queue.
    wanted: AtomicBool,
    /// The queue is in the list of queues that the next run has to look at.
    touched: AtomicBool,
    /// The offset the next appended message gets. Changed only under the append mutex of the log.
    next: AtomicI64,
    /// Visible range `[min, max)` of the log. Changed only by dispatch and retention.
    min: AtomicI64,
    max: AtomicI64,
    /// The first message that is kept beyond its segment, or one before it: of compaction topics. `NOTHING_KEPT`: none.
    kept: AtomicI64,
    /// Everything below was deleted with its topic; survives in the queue's head.
    floor: AtomicI64,
    /// Position of the newest dispatched record of this queue, plus one; 0 = none known.
    last: AtomicU64,
    /// Where the run begins that answered the last cold look-up.
    hint: AtomicU64,
    recent: Mutex<Recent>,
}

/// What the tables keep of a queue, so that it need not be in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueHead {
    /// The offset after the newest message.
    pub(crate) next: i64,
    /// Messages below this offset were deleted.
    pub(crate) floor: i64,
    /// Position of the newest record plus one, 0 = none.
    pub(crate) last: u64,
}

impl QueueRef {
    /// The topic this queue belongs to.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The name of the topic, shared by its queues.
    pub(crate) fn shared_topic(&self) -> Arc<str> {
        Arc::clone(&self.0.topic)
    }

    /// The number of this queue within its topic.
    pub fn queue_id(&self) -> i32 {
        self.0.id
    }

    /// Offset of the oldest message that can be read. Equal to [`max_offset`](Self::max_offset) when there is none.
    pub fn min_offset(&self) -> i64 {
        // In this order: what is kept of a segment is known before the segment goes.
        let in_log = self.log_min();
        let kept = self.0.kept.load(Ordering::Acquire);
        if kept >= in_log {
            return in_log;
        }
        kept.max(self.floor())
    }

    /// Offset of the oldest message that the log has; what is kept of those before it is not there.
    #[inline]
    pub(crate) fn log_min(&self) -> i64 {
        self.0.min.load(Ordering::Acquire)
    }

    /// Whether messages are kept beyond their segments.
    pub(crate) fn has_kept(&self) -> bool {
        self.0.kept.load(Ordering::Acquire) != NOTHING_KEPT
    }

    /// The first message that is kept beyond its segment.
    pub(crate) fn set_kept(&self, first: Option<i64>) {
        self.0
            .kept
            .store(first.unwrap_or(NOTHING_KEPT), Ordering::Release);
    }

    /// Offset that the first message of this topic has or had: above 0 when an earlier topic of this name was deleted.
    pub fn first_offset(&self) -> i64 {
        self.floor()
    }

    /// Offset after the newest message that can be read. Moves only to confirmed messages.
    pub fn max_offset(&self) -> i64 {
        self.0.max.load(Ordering::Acquire)
    }

    /// Asks for arrivals of this queue (`true`) or ends that (`false`).
    ///
    /// To wait without missing a message: register the waiter, call `set_wanted(true)`, then read
    /// [`max_offset`](Self::max_offset) once more and answer at once if it has moved.
    pub fn set_wanted(&self, wanted: bool) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
        // Pairs with the fence in dispatch: either it sees the flag, or the caller sees the new maximum.
        fence(Ordering::SeqCst);
    }

    /// Whether arrivals of this queue are collected.
    pub fn is_wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// A queue that no store has: it never has messages, and would begin at this offset. For who asks about one that is not there.
    pub(crate) fn nowhere(topic: &str, id: i32, begin: i64) -> Self {
        let head = QueueHead {
            next: begin,
            floor: begin,
            last: 0,
        };
        Self::with_head(Arc::from(topic), id, head, begin)
    }

    /// A queue with the head it had when it was last in memory.
    pub(crate) fn with_head(topic: Arc<str>, id: i32, head: QueueHead, min: i64) -> Self {
        Self(Arc::new(Queue {
            topic,
            id,
            wanted: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            next: AtomicI64::new(head.next),
            min: AtomicI64::new(min),
            max: AtomicI64::new(head.next),
            kept: AtomicI64::new(NOTHING_KEPT),
            floor: AtomicI64::new(head.floor),
            last: AtomicU64::new(head.last),
            hint: AtomicU64::new(u64::MAX),
            recent: Mutex::new(Recent::empty(head.next)),
        }))
    }

    /// The offset that the next appended message of this queue gets.
    pub(crate) fn next_offset(&self) -> i64 {
        self.0.next.load(Ordering::Relaxed)
    }

    /// Moves the counter. Call it only under the append mutex, or while nothing is appended.
    pub(crate) fn set_next_offset(&self, next: i64) {
        self.0.next.store(next, Ordering::Relaxed);
    }

    /// Whether somebody else has a clone.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether the queue never had a message that is known.
    pub(crate) fn is_unused(&self) -> bool {
        self.0.last.load(Ordering::Relaxed) == 0 && self.0.recent.lock().is_empty()
    }

    /// The first message of an unused queue is at this offset. Call it under the dispatcher's lock.
    pub(crate) fn begin_at(&self, offset: i64) {
        *self.0.recent.lock() = Recent::empty(offset);
        self.0.floor.store(offset, Ordering::Release);
        self.set_min(offset);
        self.set_max(offset);
    }

    pub(crate) fn recent(&self) -> &Mutex<Recent> {
        &self.0.recent
    }

    pub(crate) fn set_max(&self, max: i64) {
        self.0.max.store(max, Ordering::Release);
    }

    /// Raises the oldest offset of the log; it never goes back.
    pub(crate) fn raise_min(&self, min: i64) {
        self.0.min.fetch_max(min, Ordering::AcqRel);
    }

    pub(crate) fn set_min(&self, min: i64) {
        self.0.min.store(min, Ordering::Release);
    }

    pub(crate) fn floor(&self) -> i64 {
        self.0.floor.load(Ordering::Acquire)
    }

    pub(crate) fn raise_floor(&self, floor: i64) {
        self.0.floor.fetch_max(floor, Ordering::AcqRel);
        self.raise_min(floor);
    }

    pub(crate) fn set_last(&self, position: u64) {
        self.0.last.store(position + 1, Ordering::Relaxed);
    }

    /// The head as of everything dispatched so far; call it under the dispatcher's lock.
    pub(crate) fn head(&self) -> QueueHead {
        QueueHead {
            next: self.max_offset(),
            floor: self.floor(),
            last: self.0.last.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn hint(&self) -> u64 {
        self.0.hint.load(Ordering::Relaxed)
    }

    pub(crate) fn set_hint(&self, run_start: u64) {
        self.0.hint.store(run_start, Ordering::Relaxed);
    }

    /// Marks the queue as touched; true for the first caller since it was cleared.
    pub(crate) fn touch(&self) -> bool {
        !self.0.touched.load(Ordering::Relaxed) && !self.0.touched.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn clear_touch(&self) {
        self.0.touched.store(false, Ordering::Release);
    }
}

impl PartialEq for QueueRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for QueueRef {}

impl Hash for QueueRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} [{}, {})",
            self.topic(),
            self.queue_id(),
            self.min_offset(),
            self.max_offset()
        )
    }
}
