//! Queue locks of orderly consumers: a queue belongs to one client of a group for 60 s after its last word
//! (apache/rocketmq `RebalanceLockManager`), and no longer than the client is connected. Times are monotonic.

use std::collections::HashMap;

use parking_lot::Mutex;
use rmq_protocol::bodies::MessageQueue;

/// A lock that was not renewed for this long may be taken over, milliseconds.
pub(crate) const LOCK_MS: i64 = 60_000;

#[derive(Debug)]
struct Held {
    client_id: String,
    at_ms: i64,
}

/// All locks, by group and queue.
#[derive(Debug, Default)]
pub(crate) struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Held>>>,
}

impl QueueLocks {
    /// Locks what is free or already theirs; returns those.
    pub(crate) fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let held = groups.entry(group.to_owned()).or_default();
        queues
            .into_iter()
            .filter(|queue| {
                let free = held.get(queue).is_none_or(|lock| {
                    lock.client_id == client_id || lock.at_ms + LOCK_MS < now_ms
                });
                if free {
                    held.insert(
                        queue.clone(),
                        Held {
                            client_id: client_id.to_owned(),
                            at_ms: now_ms,
                        },
                    );
                }
                free
            })
            .collect()
    }

    /// Unlocks what is theirs.
    pub(crate) fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(held) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if held
                .get(queue)
                .is_some_and(|lock| lock.client_id == client_id)
            {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// Unlocks everything of a client that is gone.
    pub(crate) fn release(&self, group: &str, client_id: &str) {
        let mut groups = self.groups.lock();
        let Some(held) = groups.get_mut(group) else {
            return;
        };
        held.retain(|_, lock| lock.client_id != client_id);
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether a client of the group holds any lock: such a group consumes in order.
    pub(crate) fn is_any_held(&self, group: &str, now_ms: i64) -> bool {
        self.groups
            .lock()
            .get(group)
            .is_some_and(|held| held.values().any(|lock| lock.at_ms + LOCK_MS >= now_ms))
    }

    /// Forgets locks that expired long ago.
    pub(crate) fn expire(&self, now_ms: i64) {
        self.groups.lock().retain(|_, held| {
            held.retain(|_, lock| lock.at_ms + LOCK_MS >= now_ms);
            !held.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_until_it_expires() {
        let locks = QueueLocks::default();
        let queues = vec![
            MessageQueue::new("t", "b", 0),
            MessageQueue::new("t", "b", 1),
        ];
        assert_eq!(locks.lock("g", "one", queues.clone(), 0).len(), 2);
        assert!(locks.lock("g", "two", queues.clone(), LOCK_MS).is_empty());
        assert_eq!(
            locks.lock("g", "one", queues[..1].to_vec(), LOCK_MS),
            queues[..1]
        );
        assert_eq!(
            locks.lock("g", "two", queues.clone(), LOCK_MS + 1),
            queues[1..]
        );
        assert!(locks.is_any_held("g", LOCK_MS + 1) && !locks.is_any_held("other", 0));
        locks.unlock("g", "two", &queues);
        assert_eq!(
            locks.lock("g", "three", queues.clone(), LOCK_MS + 2),
            queues[1..]
        );
        locks.expire(10 * LOCK_MS);
        assert!(!locks.is_any_held("g", 0));
    }
}
