//! Pulls that found nothing and wait: answered when a matching message arrives, when their time is up, or when the broker stops.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rmq_store::{EntryFilter, QueueRef};
use smallvec::{SmallVec, smallvec};
use tokio::sync::Notify;

use crate::filter::Filter;
use crate::groups::Group;
use crate::looks::Looks;

const SHARDS: usize = 16;

/// Answers a pull that waited, or lets it wait again.
type Wake = Box<dyn FnOnce(Woken, &mut Looks) + Send>;

/// A pull that waits.
pub(crate) struct Waiter {
    pub(crate) queue: QueueRef,
    /// The offset of the next message that it wants.
    pub(crate) offset: i64,
    pub(crate) filter: Filter,
    /// The group that pulls.
    pub(crate) group: Arc<Group>,
    /// When it is answered with nothing, monotonic milliseconds.
    pub(crate) deadline_ms: i64,
    /// Stands for the connection that waits.
    pub(crate) owner: u64,
    pub(crate) wake: Wake,
}

/// Why a pull waits no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A message may be there, or something that the pull was checked for has changed: it looks again, and may wait again.
    Arrived,
    /// It is answered with what there is.
    Ended,
    /// Its connection is gone: nobody hears an answer.
    Gone,
}

impl Waiter {
    /// Ends the waiting. The waiter was taken out before.
    pub(crate) fn wake(self, woken: Woken) {
        self.wake_among(woken, &mut Looks::default());
    }

    /// As [`wake`](Self::wake), for one of several that are woken one after the other.
    pub(crate) fn wake_among(self, woken: Woken, looks: &mut Looks) {
        (self.wake)(woken, looks);
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter")
            .field("queue", &self.queue)
            .field("offset", &self.offset)
            .field("deadline_ms", &self.deadline_ms)
            .finish_non_exhaustive()
    }
}

/// Those of one queue, with their ids. Most queues have one.
type Waiting = SmallVec<[(u64, Waiter); 1]>;
type Shard = HashMap<QueueRef, Waiting, RandomState>;

/// All waiting pulls, by queue.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    shards: [Mutex<Shard>; SHARDS],
    /// Chooses the shard of a queue.
    hasher: RandomState,
    deadlines: Mutex<BTreeMap<(i64, u64), QueueRef>>,
    next_id: AtomicU64,
    count: AtomicUsize,
    /// A deadline came that is earlier than all before.
    earlier: Notify,
}

impl Waiters {
    fn shard(&self, queue: &QueueRef) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(queue) as usize % SHARDS]
    }

    /// Lets a pull wait, unless its queue has grown meanwhile: then gives it back.
    pub(crate) fn park(&self, waiter: Waiter) -> Option<Waiter> {
        let queue = waiter.queue.clone();
        let offset = waiter.offset;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let deadline_ms = waiter.deadline_ms;
        {
            let mut shard = self.shard(&queue).lock();
            shard.entry(queue.clone()).or_default().push((id, waiter));
            self.count.fetch_add(1, Ordering::Relaxed);
            queue.set_wanted(true);
        }
        {
            let mut deadlines = self.deadlines.lock();
            let is_earliest = deadlines
                .first_key_value()
                .is_none_or(|((earliest, _), _)| deadline_ms < *earliest);
            deadlines.insert((deadline_ms, id), queue.clone());
            if is_earliest {
                self.earlier.notify_one();
            }
        }
        // After the flag is up: a message before it is seen here, one after it is announced.
        if queue.max_offset() > offset {
            return self.take(&queue, id);
        }
        None
    }

    fn take(&self, queue: &QueueRef, id: u64) -> Option<Waiter> {
        let waiter = {
            let mut shard = self.shard(queue).lock();
            let waiting = shard.get_mut(queue)?;
            let index = waiting.iter().position(|(other, _)| *other == id)?;
            let (_, waiter) = waiting.swap_remove(index);
            if waiting.is_empty() {
                shard.remove(queue);
                queue.set_wanted(false);
            }
            waiter
        };
        self.gone(id, &waiter);
        Some(waiter)
    }

    fn gone(&self, id: u64, waiter: &Waiter) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.deadlines.lock().remove(&(waiter.deadline_ms, id));
    }

    fn all_gone(&self, taken: &[(u64, Waiter)]) {
        self.count.fetch_sub(taken.len(), Ordering::Relaxed);
        let mut deadlines = self.deadlines.lock();
        for (id, waiter) in taken {
            deadlines.remove(&(waiter.deadline_ms, *id));
        }
    }

    /// Takes those of a queue that want one of the messages with these tags.
    pub(crate) fn take_matching(&self, queue: &QueueRef, tags: &[i64]) -> Taken {
        self.take_where(queue, |waiter| {
            tags.iter().any(|tag| waiter.filter.by_tag(*tag))
        })
    }

    fn take_where(&self, queue: &QueueRef, is_wanted: impl Fn(&Waiter) -> bool) -> Taken {
        let taken = {
            let mut shard = self.shard(queue).lock();
            let Entry::Occupied(mut waiting) = shard.entry(queue.clone()) else {
                return Taken(Waiting::new().into_iter());
            };
            let is_wanted = |(_, waiter): &(u64, Waiter)| is_wanted(waiter);
            if waiting.get().iter().all(is_wanted) {
                queue.set_wanted(false);
                waiting.remove()
            } else {
                let all = std::mem::take(waiting.get_mut());
                let (taken, left) = all.into_iter().partition(is_wanted);
                *waiting.get_mut() = left;
                taken
            }
        };
        if !taken.is_empty() {
            self.all_gone(&taken);
        }
        Taken(taken.into_iter())
    }

    /// Takes those of a queue that wait for a group.
    pub(crate) fn take_of_group(&self, queue: &QueueRef, group: &str) -> Taken {
        self.take_where(queue, |waiter| waiter.group.name() == group)
    }

    /// Takes those whose time is up at `now_ms`.
    pub(crate) fn take_due(&self, now_ms: i64) -> Vec<Waiter> {
        let due: Vec<(u64, QueueRef)> = {
            let mut deadlines = self.deadlines.lock();
            let later = deadlines.split_off(&(now_ms + 1, 0));
            std::mem::replace(&mut *deadlines, later)
                .into_iter()
                .map(|((_, id), queue)| (id, queue))
                .collect()
        };
        due.into_iter()
            .filter_map(|(id, queue)| self.take(&queue, id))
            .collect()
    }

    /// Takes those of a connection, or all.
    pub(crate) fn take_of(&self, owner: Option<u64>) -> Taken {
        let is_wanted =
            |(_, waiter): &(u64, Waiter)| owner.is_none_or(|owner| waiter.owner == owner);
        let mut taken = Waiting::new();
        for shard in &self.shards {
            shard.lock().retain(|queue, waiting| {
                if !waiting.iter().any(is_wanted) {
                    return true;
                }
                let (wanted, left): (Waiting, Waiting) =
                    std::mem::take(waiting).into_iter().partition(is_wanted);
                taken.extend(wanted);
                *waiting = left;
                if waiting.is_empty() {
                    queue.set_wanted(false);
                }
                !waiting.is_empty()
            });
        }
        self.all_gone(&taken);
        Taken(taken.into_iter())
    }

    /// The next deadline.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.deadlines
            .lock()
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Ready when an earlier deadline has come.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Waiters that were taken.
pub(crate) struct Taken(smallvec::IntoIter<[(u64, Waiter); 1]>);

impl Iterator for Taken {
    type Item = Waiter;

    fn next(&mut self) -> Option<Waiter> {
        self.0.next().map(|(_, waiter)| waiter)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Taken {}

/// Queues with the tags that arrived in each. Most calls bring one message.
pub(crate) type ByQueue = SmallVec<[(QueueRef, SmallVec<[i64; 2]>); 2]>;

/// Tags of arrivals by queue, in order.
pub(crate) fn by_queue(arrivals: &[rmq_store::Arrival]) -> ByQueue {
    let mut queues = ByQueue::new();
    for arrival in arrivals {
        match queues
            .iter_mut()
            .rev()
            .take(8)
            .find(|(queue, _)| *queue == arrival.queue)
        {
            Some((_, tags)) => {
                if !tags.contains(&arrival.tag_hash) {
                    tags.push(arrival.tag_hash);
                }
            }
            None => queues.push((arrival.queue.clone(), smallvec![arrival.tag_hash])),
        }
    }
    queues
}
