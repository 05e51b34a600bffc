//! One bound for the bytes that connections hold: what was received of unfinished frames and waits parked, and what waits to be sent.
//!
//! Each connection may hold a small allowance of either kind for nothing, so that small requests always get through. What it holds
//! beyond is charged, once for each turn of its connection. When nothing is left, connections that want more are not read: their peers
//! feel it through TCP. Both directions have a bound of their own, so that peers which do not read cannot keep others from being read.
//!
//! Connections that each hold a part of a large frame could wait for each other for ever. So a reserve is left for one frame: the
//! connection that waits longest may read on into it until its frame is whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use rmq_protocol::limits::FRAME_BYTES_MAX;

/// Smallest bound that a server can work with: room for two frames of the largest size in each direction.
pub const MEMORY_BYTES_MIN: usize = 4 * FRAME_BYTES_MAX;
/// Bytes of each kind that a connection may hold for nothing, at most.
const ALLOWANCE_MAX: usize = 16 * 1024;
/// The same, at least.
const ALLOWANCE_MIN: usize = 1024;
/// Bytes that threads may read at the same moment although only one of them still had room, with what a buffer keeps ahead.
const READ_SLACK: usize = 2 << 20;
/// Free write buffers that a thread keeps may each be this large, at most.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The bound of a server's connections; its listeners share one.
#[derive(Debug)]
pub struct MemoryBudget {
    received: Received,
    sending: Sending,
    allowance: usize,
    spare: usize,
}

/// How full a [`MemoryBudget`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Charged bytes of unfinished frames and parked requests.
    pub received: usize,
    /// Their bound.
    pub received_max: usize,
    /// Charged bytes that wait to be sent.
    pub sending: usize,
    /// Their bound.
    pub sending_max: usize,
    /// Connections that wait for room to read.
    pub waiting_to_read: usize,
    /// Answers that wait for room to be made.
    pub waiting_to_send: usize,
}

impl MemoryUse {
    /// Charged bytes of both kinds.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.received.saturating_add(self.sending)
    }

    /// Their bounds together.
    #[must_use]
    pub const fn bound(&self) -> usize {
        self.received_max.saturating_add(self.sending_max)
    }

    /// Connections and answers that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting_to_read + self.waiting_to_send
    }
}

#[derive(Debug)]
struct Received {
    used: AtomicUsize,
    /// Everybody may read below it; between it and `max`, one.
    free_below: usize,
    max: usize,
    queue: Mutex<Queue>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Who may read into the reserve.
    owner: Option<u64>,
    waiting: VecDeque<(u64, Waker)>,
}

impl Queue {
    fn next(&self) -> Option<Waker> {
        self.waiting.front().map(|(_, waker)| waker.clone())
    }
}

/// How a connection may read beyond its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is room.
    Free,
    /// Into the reserve, until its frame is whole.
    Reserve,
    /// Not yet.
    Waiting,
}

#[derive(Debug)]
struct Sending {
    used: AtomicUsize,
    max: usize,
    queue: Mutex<VecDeque<Answer>>,
    waiting: AtomicUsize,
}

/// An answer that is made when there is room for it.
struct Answer {
    bytes: usize,
    make: Box<dyn FnOnce(Room) + Send>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Room that is kept for an answer until it is made. What is made is then charged to its connection.
#[derive(Debug)]
pub struct Room {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Room {
    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.sending_changed(self.bytes, 0);
    }
}

impl MemoryBudget {
    /// A budget of `bytes` (at least [`MEMORY_BYTES_MIN`]) for up to `connections_max` connections.
    #[must_use]
    pub fn new(bytes: usize, connections_max: usize) -> Arc<Self> {
        let bytes = bytes.max(MEMORY_BYTES_MIN);
        let half = bytes / 2;
        let received = Received {
            used: AtomicUsize::new(0),
            free_below: half - FRAME_BYTES_MAX - READ_SLACK,
            max: half,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        };
        Arc::new(Self::with(received, half, bytes, connections_max))
    }

    fn with(received: Received, sending_max: usize, bytes: usize, connections_max: usize) -> Self {
        Self {
            received,
            sending: Sending {
                used: AtomicUsize::new(0),
                max: sending_max,
                queue: Mutex::default(),
                waiting: AtomicUsize::new(0),
            },
            allowance: (bytes / connections_max.max(1) / 4).clamp(ALLOWANCE_MIN, ALLOWANCE_MAX),
            spare: (bytes / 1_024).clamp(64 * 1024, SPARE_BYTES_MAX),
        }
    }

    /// No bound: for a client, whose own calls are what it holds.
    #[must_use]
    pub fn unbounded() -> Arc<Self> {
        let received = Received {
            used: AtomicUsize::new(0),
            free_below: usize::MAX,
            max: usize::MAX,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        };
        let mut budget = Self::with(received, usize::MAX, usize::MAX, 1);
        budget.allowance = usize::MAX;
        Arc::new(budget)
    }

    /// Small ones, for tests: bytes that all may read, the reserve, bytes to send, the allowance.
    #[cfg(test)]
    pub(crate) fn tiny(free: usize, reserve: usize, sending: usize, allowance: usize) -> Arc<Self> {
        let received = Received {
            used: AtomicUsize::new(0),
            free_below: free,
            max: free + reserve,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        };
        let mut budget = Self::with(received, sending, 0, 1);
        budget.allowance = allowance;
        Arc::new(budget)
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> MemoryUse {
        MemoryUse {
            received: self.received.used.load(Ordering::Relaxed),
            received_max: self.received.max,
            sending: self.sending.used.load(Ordering::Relaxed),
            sending_max: self.sending.max,
            waiting_to_read: self.received.waiting.load(Ordering::Relaxed),
            waiting_to_send: self.sending.waiting.load(Ordering::Relaxed),
        }
    }

    /// Whether an answer of this size can be made now. When it cannot, [`Self::when_room`] makes it later.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.allowance
            || (self.sending.waiting.load(Ordering::Relaxed) == 0 && self.sending.fits(bytes))
    }

    /// Has `make` called, on any thread, as soon as there is room for so many bytes; in the order of these calls. It must be quick.
    pub fn when_room(self: &Arc<Self>, bytes: usize, make: impl FnOnce(Room) + Send + 'static) {
        {
            let mut queue = self.sending.queue.lock();
            queue.push_back(Answer {
                bytes,
                make: Box::new(make),
            });
            self.sending.waiting.store(queue.len(), Ordering::Relaxed);
        }
        self.make_answers();
    }

    fn make_answers(self: &Arc<Self>) {
        loop {
            let answer = {
                let mut queue = self.sending.queue.lock();
                let Some(first) = queue.front() else { return };
                if !self.sending.fits(first.bytes) {
                    return;
                }
                let answer = queue.pop_front();
                self.sending.waiting.store(queue.len(), Ordering::Relaxed);
                if let Some(answer) = &answer {
                    self.sending.used.fetch_add(answer.bytes, Ordering::Relaxed);
                }
                answer
            };
            if let Some(answer) = answer {
                (answer.make)(Room {
                    budget: Arc::clone(self),
                    bytes: answer.bytes,
                });
            }
        }
    }

    /// Bytes of each kind that a connection may hold for nothing.
    pub(crate) fn allowance(&self) -> usize {
        self.allowance
    }

    /// Size up to which a thread keeps a free write buffer.
    pub(crate) fn spare_bytes_max(&self) -> usize {
        self.spare
    }

    /// Whether somebody waits because of what is held in this direction.
    pub(crate) fn reading_is_short(&self) -> bool {
        self.received.waiting.load(Ordering::Relaxed) > 0
    }

    /// The same for what waits to be sent; also when nothing more fits.
    pub(crate) fn sending_is_short(&self) -> bool {
        self.sending.waiting.load(Ordering::Relaxed) > 0 || !self.sending.fits(0)
    }

    /// A connection holds `now` charged bytes that wait to be sent, instead of `before`.
    pub(crate) fn sending_changed(self: &Arc<Self>, before: usize, now: usize) {
        if now >= before {
            self.sending.used.fetch_add(now - before, Ordering::Relaxed);
            return;
        }
        self.sending.used.fetch_sub(before - now, Ordering::Relaxed);
        if self.sending.waiting.load(Ordering::Relaxed) > 0 {
            self.make_answers();
        }
    }

    /// A connection holds `now` charged bytes that it received, instead of `before`.
    pub(crate) fn received_changed(&self, before: usize, now: usize) {
        let received = &self.received;
        if now >= before {
            received.used.fetch_add(now - before, Ordering::Relaxed);
            return;
        }
        received.used.fetch_sub(before - now, Ordering::Relaxed);
        if received.waiting.load(Ordering::Relaxed) > 0 {
            received.wake_first();
        }
    }

    /// Whether everybody may read as much as there is.
    pub(crate) fn reads_freely(&self) -> bool {
        !self.reading_is_short() && self.received.has_free()
    }

    /// Asks for a turn to read beyond the allowance; when there is none, `waker` is woken when to ask again.
    pub(crate) fn turn(&self, connection: u64, waker: &Waker) -> Turn {
        let received = &self.received;
        if self.reads_freely() {
            return Turn::Free;
        }
        let mut queue = received.queue.lock();
        let first = queue.waiting.front();
        let is_first = first.is_none_or(|(id, _)| *id == connection);
        let turn = match queue.owner {
            Some(owner) if owner == connection => Turn::Reserve,
            _ if is_first && received.has_free() => Turn::Free,
            None if is_first => Turn::Reserve,
            _ => Turn::Waiting,
        };
        if turn == Turn::Waiting {
            match queue.waiting.iter_mut().find(|(id, _)| *id == connection) {
                Some((_, known)) => known.clone_from(waker),
                None => queue.waiting.push_back((connection, waker.clone())),
            }
        } else {
            queue.waiting.retain(|(id, _)| *id != connection);
            if turn == Turn::Reserve {
                queue.owner = Some(connection);
            }
        }
        received
            .waiting
            .store(queue.waiting.len(), Ordering::Relaxed);
        // Room that is left is the next one's.
        let next = (turn == Turn::Free).then(|| queue.next()).flatten();
        drop(queue);
        if let Some(next) = next {
            next.wake();
        }
        turn
    }

    /// The connection needs no turn: its frame is whole, nothing comes, or it ends.
    pub(crate) fn give_turn(&self, connection: u64) {
        let received = &self.received;
        let mut queue = received.queue.lock();
        if queue.owner == Some(connection) {
            queue.owner = None;
        }
        queue.waiting.retain(|(id, _)| *id != connection);
        received
            .waiting
            .store(queue.waiting.len(), Ordering::Relaxed);
        let next = queue.next();
        drop(queue);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Received {
    fn has_free(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.free_below
    }

    fn wake_first(&self) {
        let first = self.queue.lock().next();
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

impl Sending {
    /// Nothing else held: an answer that is larger than the bound goes alone.
    fn fits(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used == 0 || used.saturating_add(bytes) <= self.max
    }
}
