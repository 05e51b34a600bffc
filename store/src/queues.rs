//! The queues that are in memory, by topic and number. The others lie in the tables and are loaded when somebody asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

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

/// The table of queues.
#[derive(Default)]
pub(crate) struct Queues {
    /// Per topic, sorted by queue id.
    topics: RwLock<HashMap<Arc<str>, Vec<QueueRef>, RandomState>>,
}

impl Queues {
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
        match find(topics.get(topic), queue_id) {
            Some(queue) => Ok(queue),
            None => {
                // Without its head the queue would hand out offsets twice.
                let head = source.head(topic, queue_id)?.unwrap_or_default();
                insert(&mut topics, topic, queue_id, head, source)
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
        match find(topics.get(topic), queue_id) {
            Some(queue) => Ok(Some(queue)),
            None => source
                .head(topic, queue_id)?
                .map(|head| insert(&mut topics, topic, queue_id, head, source))
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
            if find(topics.get(topic), queue_id).is_none() {
                insert(&mut topics, topic, queue_id, head, source)?;
            }
        }
        Ok(topics.get(topic).cloned().unwrap_or_default())
    }

    /// Every queue of a topic that is in memory, sorted by id.
    pub(crate) fn loaded_of(&self, topic: &str) -> Vec<QueueRef> {
        self.topics.read().get(topic).cloned().unwrap_or_default()
    }

    /// The queue, if it is in memory.
    pub(crate) fn loaded(&self, topic: &str, queue_id: i32) -> Option<QueueRef> {
        find(self.topics.read().get(topic), queue_id)
    }

    /// Every queue in memory.
    pub(crate) fn all_loaded(&self) -> Vec<QueueRef> {
        self.topics.read().values().flatten().cloned().collect()
    }
}

fn find(queues: Option<&Vec<QueueRef>>, queue_id: i32) -> Option<QueueRef> {
    let queues = queues?;
    let index = queues.binary_search_by_key(&queue_id, QueueRef::queue_id);
    queues.get(index.ok()?).cloned()
}

fn insert(
    topics: &mut HashMap<Arc<str>, Vec<QueueRef>, RandomState>,
    topic: &str,
    queue_id: i32,
    head: QueueHead,
    source: &dyn QueueSource,
) -> Result<QueueRef, ReadError> {
    let name = topics
        .get_key_value(topic)
        .map_or_else(|| Arc::from(topic), |(name, _)| Arc::clone(name));
    let oldest = source
        .oldest_offset(topic, queue_id, &head)?
        .unwrap_or(head.next);
    let queue = QueueRef::with_head(Arc::clone(&name), queue_id, head, oldest.max(head.floor));
    queue.set_next_offset(head.next.saturating_add(source.unseen_after(head.last)));
    let queues = topics.entry(name).or_insert_with(|| Vec::with_capacity(1));
    let index = queues.partition_point(|other| other.queue_id() < queue_id);
    if queues.len() == queues.capacity() && queues.len() < 4 {
        queues.reserve_exact(1);
    }
    queues.insert(index, queue.clone());
    Ok(queue)
}
