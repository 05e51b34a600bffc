//! The queues that are in memory, by topic and number. The others lie in the tables and are loaded when somebody asks for them.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use rmq_protocol::names::LMQ_PREFIX;
use smallvec::SmallVec;

use crate::error::ReadError;
use crate::queue::{QueueHead, QueueRef};
use crate::tables::LightHeads;

/// Queues that are taken out of memory while the table is locked once.
const UNUSED_AT_ONCE: usize = 1_024;

/// Where queues that are not in memory come from.
pub(crate) trait QueueSource: Send + Sync {
    /// The head of a queue, if the queue ever was.
    fn head(&self, topic: &str, queue_id: i32) -> Result<Option<QueueHead>, ReadError>;
    /// Every queue of a topic.
    fn heads_of(&self, topic: &str) -> Result<Vec<(i32, QueueHead)>, ReadError>;
    /// How many messages the queue may have had, at most, that nobody has seen and whose offsets must not be given again: behind its
    /// newest record, of which `last` is the position plus one, 0 for none.
    fn unseen_after(&self, last: u64) -> i64;
    /// The oldest offset of a queue that a run file holds.
    fn oldest_offset(
        &self,
        topic: &str,
        queue_id: i32,
        head: &QueueHead,
    ) -> Result<Option<i64>, ReadError>;
    /// The oldest offset, from one on, of a message that is kept beyond its segment.
    fn kept_from(&self, topic: &str, queue_id: i32, from: i64) -> Result<Option<i64>, ReadError>;
}

/// The queues of a topic, sorted by id: one at least, which has the topic's name. Most topics of a large broker have one or two.
type TopicQueues = SmallVec<[QueueRef; 2]>;

/// The queues in memory, by topic.
#[derive(Default)]
struct Topics {
    table: HashTable<TopicQueues>,
    hasher: RandomState,
}

/// The table of queues.
#[derive(Default)]
pub(crate) struct Queues {
    topics: RwLock<Topics>,
    /// Topics whose deletion is on its way, with all their queues in memory.
    deleted: Mutex<HashSet<Box<str>, RandomState>>,
    /// Light queues that are known, in memory or not.
    light: AtomicUsize,
    /// Where a light queue begins that is not known: behind the offsets of each that was forgotten.
    light_begin: AtomicI64,
    /// Light queues whose heads are being removed from the tables: they are not known any more.
    forgotten: Mutex<HashSet<Box<str>, RandomState>>,
}

impl Queues {
    /// With light queues that are not in memory.
    pub(crate) fn with_light(light: LightHeads) -> Self {
        Self {
            light: AtomicUsize::new(light.count),
            light_begin: AtomicI64::new(light.begin),
            ..Self::default()
        }
    }

    /// Where a light queue begins that is not known.
    pub(crate) fn light_begin(&self) -> i64 {
        self.light_begin.load(Ordering::Acquire)
    }

    /// How many light queues there are.
    pub(crate) fn light(&self) -> usize {
        self.light.load(Ordering::Relaxed)
    }

    /// The queue, created when it is not known.
    pub(crate) fn get_or_create(
        &self,
        topic: &str,
        queue_id: i32,
        source: &dyn QueueSource,
    ) -> Result<QueueRef, ReadError> {
        self.known_or(topic, queue_id, source, |light_begin| light_begin)
    }

    /// The light queue that a stored record is in, at this offset; a queue that is not known begins there, wherever others would.
    pub(crate) fn light_of_record(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        source: &dyn QueueSource,
    ) -> Result<QueueRef, ReadError> {
        self.known_or(topic, queue_id, source, |_| offset)
    }

    fn known_or(
        &self,
        topic: &str,
        queue_id: i32,
        source: &dyn QueueSource,
        begin: impl FnOnce(i64) -> i64,
    ) -> Result<QueueRef, ReadError> {
        if let Some(queue) = self.loaded(topic, queue_id) {
            return Ok(queue);
        }
        let mut topics = self.topics.write();
        if let Some(queue) = topics.find(topic, queue_id) {
            return Ok(queue);
        }
        // Without its head the queue would hand out offsets twice.
        if let Some(head) = self.head(topic, queue_id, source)? {
            return topics.insert(topic, queue_id, head, source);
        }
        if !topic.starts_with(LMQ_PREFIX) {
            return topics.insert(topic, queue_id, QueueHead::default(), source);
        }
        let light_begin = self.light_begin();
        let next = begin(light_begin);
        let head = QueueHead {
            next,
            floor: next.min(light_begin),
            last: 0,
        };
        let queue = topics.insert(topic, queue_id, head, source)?;
        self.light.fetch_add(1, Ordering::Relaxed);
        Ok(queue)
    }

    /// The head of a queue that is not in memory, if the queue is known. Call it with the table of queues locked.
    fn head(
        &self,
        topic: &str,
        queue_id: i32,
        source: &dyn QueueSource,
    ) -> Result<Option<QueueHead>, ReadError> {
        match topic.starts_with(LMQ_PREFIX) && self.forgotten.lock().contains(topic) {
            true => Ok(None),
            false => source.head(topic, queue_id),
        }
    }

    /// Begins to forget light queues whose messages have all left the log: those that nobody holds. `queues`: their names, each with an offset behind all
    /// that it has given. Returns the names of those that are not known from now on; [`end_forgetting`](Self::end_forgetting) is to follow.
    ///
    /// A queue that is held may be about to get a message. Only this table lends queues, so one that nobody holds stays so while the table is locked.
    pub(crate) fn begin_forgetting(&self, queues: Vec<(Box<str>, i64)>) -> Vec<Box<str>> {
        let mut topics = self.topics.write();
        let mut forgotten = self.forgotten.lock();
        let mut names = Vec::new();
        for (topic, end) in queues {
            if let Some(end) = topics.remove_light(&topic).map(|next| next.max(end)) {
                self.light_begin.fetch_max(end, Ordering::AcqRel);
                forgotten.insert(topic.clone());
                names.push(topic);
            }
        }
        self.light.fetch_sub(names.len(), Ordering::Relaxed);
        names
    }

    /// The heads have been removed from the tables, or could not be: then the queues are known again.
    pub(crate) fn end_forgetting(&self, names: &[Box<str>], removed: bool) {
        let topics = self.topics.write();
        self.forgotten.lock().clear();
        if !removed {
            // Those that were made meanwhile were counted then.
            let known = names.iter().filter(|name| topics.of(name).is_empty());
            self.light.fetch_add(known.count(), Ordering::Relaxed);
        }
    }

    /// Takes light queues out of memory that never had a message, and that nobody holds.
    pub(crate) fn forget_unused_light(&self) -> usize {
        let unused: Vec<Arc<str>> = {
            let topics = self.topics.read();
            let light = topics.table.iter().flatten();
            light
                .filter(|queue| queue.topic().starts_with(LMQ_PREFIX) && queue.is_unused())
                .map(QueueRef::shared_topic)
                .collect()
        };
        let mut count = 0;
        for names in unused.chunks(UNUSED_AT_ONCE) {
            let mut topics = self.topics.write();
            for name in names {
                let is_unused = topics.of(name).first().is_some_and(QueueRef::is_unused);
                count += usize::from(is_unused && topics.remove_light(name).is_some());
            }
        }
        self.light.fetch_sub(count, Ordering::Relaxed);
        count
    }

    /// The queue, if it ever was.
    pub(crate) fn find(
        &self,
        topic: &str,
        queue_id: i32,
        source: &dyn QueueSource,
    ) -> Result<Option<QueueRef>, ReadError> {
        if let Some(queue) = self.loaded(topic, queue_id) {
            return Ok(Some(queue));
        }
        let mut topics = self.topics.write();
        match topics.find(topic, queue_id) {
            Some(queue) => Ok(Some(queue)),
            None => self
                .head(topic, queue_id, source)?
                .map(|head| topics.insert(topic, queue_id, head, source))
                .transpose(),
        }
    }

    /// Every queue of a topic that ever was, sorted by id.
    pub(crate) fn of_topic(
        &self,
        topic: &str,
        source: &dyn QueueSource,
    ) -> Result<Vec<QueueRef>, ReadError> {
        let mut topics = self.topics.write();
        let is_forgotten = topic.starts_with(LMQ_PREFIX) && self.forgotten.lock().contains(topic);
        let heads = match is_forgotten {
            true => Vec::new(),
            false => source.heads_of(topic)?,
        };
        for (queue_id, head) in heads {
            if topics.find(topic, queue_id).is_none() {
                topics.insert(topic, queue_id, head, source)?;
            }
        }
        Ok(topics.of(topic).to_vec())
    }

    /// Loads every queue of a topic that is about to be deleted: [`of_deleted`](Self::of_deleted) asks no disk then.
    pub(crate) fn load_deleted(
        &self,
        topic: &str,
        source: &dyn QueueSource,
    ) -> Result<(), ReadError> {
        self.of_topic(topic, source)?;
        self.deleted.lock().insert(topic.into());
        Ok(())
    }

    /// Every queue of a topic whose deletion is applied now. The disk is asked where the deletion comes from somewhere else.
    pub(crate) fn of_deleted(
        &self,
        topic: &str,
        source: &dyn QueueSource,
    ) -> Result<Vec<QueueRef>, ReadError> {
        if self.deleted.lock().remove(topic) {
            return Ok(self.topics.read().of(topic).to_vec());
        }
        self.of_topic(topic, source)
    }

    /// The queue, if it is in memory.
    pub(crate) fn loaded(&self, topic: &str, queue_id: i32) -> Option<QueueRef> {
        self.topics.read().find(topic, queue_id)
    }

    /// Every queue in memory.
    pub(crate) fn all_loaded(&self) -> Vec<QueueRef> {
        self.topics.read().table.iter().flatten().cloned().collect()
    }
}

impl Topics {
    /// The queues of a topic, sorted by id.
    fn of(&self, topic: &str) -> &[QueueRef] {
        let hash = self.hasher.hash_one(topic);
        let found = self.table.find(hash, |queues| name(queues) == topic);
        found.map_or(&[], |queues| queues)
    }

    fn find(&self, topic: &str, queue_id: i32) -> Option<QueueRef> {
        let queues = self.of(topic);
        let index = queues.binary_search_by_key(&queue_id, QueueRef::queue_id);
        queues.get(index.ok()?).cloned()
    }

    /// Takes the queue of a light topic out of memory. The offset that it would have given next, 0 when it was not in memory; `None`: somebody holds it.
    fn remove_light(&mut self, topic: &str) -> Option<i64> {
        let hash = self.hasher.hash_one(topic);
        let found = self.table.find_entry(hash, |queues| name(queues) == topic);
        let Ok(entry) = found else {
            return Some(0);
        };
        if entry.get().iter().any(QueueRef::is_held) {
            return None;
        }
        let next = entry.get().iter().map(QueueRef::next_offset).max();
        entry.remove();
        next
    }

    fn insert(
        &mut self,
        topic: &str,
        queue_id: i32,
        head: QueueHead,
        source: &dyn QueueSource,
    ) -> Result<QueueRef, ReadError> {
        let known = self.of(topic).first();
        let topic = known.map_or_else(|| Arc::from(topic), QueueRef::shared_topic);
        let oldest = source
            .oldest_offset(&topic, queue_id, &head)?
            .unwrap_or(head.next);
        let min = oldest.max(head.floor);
        let queue = QueueRef::with_head(Arc::clone(&topic), queue_id, head, min);
        queue.set_kept(source.kept_from(&topic, queue_id, head.floor)?);
        queue.set_next_offset(head.next.saturating_add(source.unseen_after(head.last)));
        let (hash, hasher) = (self.hasher.hash_one(&*topic), &self.hasher);
        let is_it = |queues: &TopicQueues| name(queues) == &*topic;
        let rehash = |queues: &TopicQueues| hasher.hash_one(name(queues));
        let place = self.table.entry(hash, is_it, rehash);
        let queues = place.or_insert_with(TopicQueues::new).into_mut();
        let index = queues.partition_point(|other| other.queue_id() < queue_id);
        queues.insert(index, queue.clone());
        Ok(queue)
    }
}

/// The topic of its queues.
fn name(queues: &TopicQueues) -> &str {
    queues.first().map_or("", QueueRef::topic)
}
