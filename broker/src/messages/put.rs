//! What a batch of sends appended to a topic, until it is counted.

use std::sync::Arc;

use super::refusal::SendRefusal;
use crate::broker::Broker;
use crate::quota::Left;
use crate::stats::Stats;
use crate::topics::Topic;

/// Queues of a batch that are counted without a look at others.
const QUEUES_AT_ONCE: usize = 8;

/// A topic, and what a batch appended to it. It is counted when the batch is written: counters that many connections share cost
/// more than the rest of a send's bookkeeping.
#[derive(Debug)]
pub(crate) struct Put {
    pub(super) topic: Arc<Topic>,
    /// What the client may still send, where clients have a quota of the topic.
    client: Option<Arc<Left>>,
    messages: u64,
    bytes: u64,
    pub(super) requests: u64,
    /// Requests by queue, each where its id says.
    queues: [(i32, u32); QUEUES_AT_ONCE],
    /// Requests by queue that gave their place to another one; a queue may be there twice.
    more_queues: Vec<(i32, u32)>,
}

impl Put {
    pub(super) fn to(topic: Arc<Topic>) -> Self {
        Self {
            topic,
            client: None,
            messages: 0,
            bytes: 0,
            requests: 0,
            queues: [(0, 0); QUEUES_AT_ONCE],
            more_queues: Vec::new(),
        }
    }

    /// Whether the topic has a quota.
    #[inline]
    pub(super) fn has_quota(&self) -> bool {
        self.topic.quota.is_some()
    }

    /// Whether the quota of the topic, and of the client in it, leaves room for a message of so many bytes.
    ///
    /// # Errors
    /// It does not.
    #[cold]
    pub(super) fn check_quota(
        &mut self,
        broker: &Broker,
        connection: u64,
        bytes: usize,
    ) -> Result<(), SendRefusal> {
        let Some(quota) = &self.topic.quota else {
            return Ok(());
        };
        let now_ns = broker.monotonic_ns();
        if self.client.is_none() {
            self.client = quota.client(connection, now_ns);
        }
        let checked = quota.check(self.client.as_deref(), now_ns, bytes as u64);
        checked.map_err(|over| SendRefusal::Quota {
            topic: self.topic.name().to_owned(),
            over,
        })
    }

    /// Takes from the quota what was sent.
    #[cold]
    pub(super) fn take_quota(&self, broker: &Broker, messages: usize, bytes: usize) {
        if let Some(quota) = &self.topic.quota {
            let (client, now_ns) = (self.client.as_deref(), broker.monotonic_ns());
            quota.take(client, now_ns, messages as u64, bytes as u64);
        }
    }

    /// One request appended this.
    pub(super) fn appended(&mut self, queue_id: i32, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        self.requests += 1;
        let place = &mut self.queues[queue_id as usize % QUEUES_AT_ONCE];
        if place.0 != queue_id {
            if place.1 > 0 {
                self.more_queues.push(*place);
            }
            *place = (queue_id, 0);
        }
        place.1 += 1;
    }

    /// Counts it as stored, `took_ms` after the first request of the batch was looked at.
    pub(crate) fn count(&self, stats: &Stats, took_ms: i64) {
        self.topic
            .stored(stats, self.messages, self.bytes, self.requests);
        stats.put_times.add(took_ms, self.requests);
        let took_ms = took_ms.max(0) as u64;
        let queues = self.queues.iter().chain(&self.more_queues);
        let took = queues
            .filter(|(_, requests)| *requests > 0)
            .map(|(queue, requests)| {
                let requests = u64::from(*requests);
                (*queue, [took_ms * requests, requests])
            });
        self.topic.counters().put_took.add_all(stats, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_at_its_queue_whatever_their_order() {
        const QUEUES: i32 = 3 * QUEUES_AT_ONCE as i32;
        let stats = Stats::new(0, 0);
        let topic = Topic::named("t");
        let mut expected = vec![0; QUEUES as usize];
        let mut put = Put::to(Arc::clone(&topic));
        for step in 0..1_000 {
            let queue = step * 7 % QUEUES;
            put.appended(queue, 2, 10);
            expected[queue as usize] += 1;
        }
        put.count(&stats, 3);
        for (queue, requests) in (0..).zip(expected) {
            let took = topic.counters().put_took.get(queue).expect("counted");
            assert_eq!(
                (took.total(0), took.total(1)),
                (3 * requests, requests),
                "{queue}"
            );
        }
        let total = |counter| topic.counters().put.total(counter);
        assert_eq!((total(0), total(1), total(2)), (2_000, 10_000, 1_000));
    }
}
