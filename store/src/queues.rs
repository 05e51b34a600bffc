//! The queues that are in memory, by topic and number. The others lie in the tables and are loaded when somebody asks for them.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use rmq_protocol::names::LMQ_PREFIX;
use smallvec::SmallVec;

use crate::error::ReadError;
use crate::queue::{QueueHead, QueueRef};

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
    /// Light queues that ever were, in memory or not.
    light: AtomicUsize,
}

impl Queues {
    /// With so many light queues that are not in memory.
    pub(crate) fn with_light(light: usize) -> Self {
        Self {
            light: AtomicUsize::new(light),
            ..Self::default()
        }
    }

    /// How many light queues there are.
    pub(crate) fn light(&self) -> usize {
        self.light.load(Ordering::Relaxed)
    }

    /// The queue, created when it never was.
    pub(crate) fn get_or_create(
        &self,
        topic: &str,
        queue_id: i32,
        source: &dyn QueueSource,
    ) -> Result<QueueRef, ReadError> {
        if let Some(queue) = self.loaded(topic, queue_id) {
            return Ok(queue);
        }
        let mut topics = self.topics.write();
        match topics.find(topic, queue_id) {
            Some(queue) => Ok(queue),
            None => {
                // Without its head the queue would hand out offsets twice.
                let head = source.head(topic, queue_id)?;
                let queue = topics.insert(topic, queue_id, head.unwrap_or_default(), source)?;
                if head.is_none() && topic.starts_with(LMQ_PREFIX) {
                    self.light.fetch_add(1, Ordering::Relaxed);
                }
                Ok(queue)
            }
        }
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
            None => source
                .head(topic, queue_id)?
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
        for (queue_id, head) in source.heads_of(topic)? {
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
