//! The table of topics: key = the topic's name, value = its settings as JSON (apache/rocketmq `TopicConfig`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{DataVersion, TopicConfig};
use rmq_protocol::names;
use rmq_protocol::route::perm;
use rmq_store::{Applied, Apply, Change, QueueRef, ReadError};
use smallvec::{SmallVec, smallvec};
use tokio::sync::watch;

use super::ids::TOPICS;
use super::rows::{Keyed, Rows};
use crate::attributes;
use crate::message_type::MessageType;
use crate::quota::Quota;
use crate::stats::{ByQueue, Flow, Stats};

/// A topic and its queues.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) config: TopicConfig,
    /// As many as the larger of read and write queues.
    pub(crate) queues: TopicQueues,
    /// Made when something is first counted: most topics of a large broker are idle.
    counters: OnceLock<Arc<TopicCounters>>,
    /// How much clients may send; most topics have none.
    pub(crate) quota: Option<Arc<Quota>>,
    /// Which messages it takes, where that is checked; `None`: it does not say.
    pub(crate) message_type: Option<MessageType>,
    /// The newest message of each key is kept when its time is up; each message has a key.
    pub(crate) is_compacted: bool,
    send_forbidden: bool,
    system: bool,
    /// It is a light queue, and has no settings.
    light: bool,
}

/// The queues of a topic: most topics of a large broker have one or two.
pub(crate) type TopicQueues = SmallVec<[QueueRef; 2]>;

/// What a topic has taken in since the broker started. Kept when the topic's settings change.
#[derive(Debug, Default)]
pub(crate) struct TopicCounters {
    pub(crate) put: Flow,
    /// Milliseconds and number of the sends to each queue.
    pub(crate) put_took: ByQueue<2>,
}

impl Topic {
    fn new(config: TopicConfig, queues: TopicQueues) -> Self {
        Self {
            send_forbidden: names::is_send_forbidden(&config.topic_name),
            system: names::is_system_topic(&config.topic_name),
            light: false,
            quota: Quota::of(&config.attributes, None),
            message_type: MessageType::of_topic(&config.attributes),
            is_compacted: is_compacted(&config),
            config,
            queues,
            counters: OnceLock::new(),
        }
    }

    /// A light queue as a topic. Messages name it beside their topic; nobody sends to it alone.
    pub(crate) fn light(name: &str, queue: QueueRef) -> Arc<Self> {
        let config = TopicConfig {
            perm: perm::READ | perm::WRITE,
            ..TopicConfig::new(name, 1)
        };
        Arc::new(Self {
            send_forbidden: true,
            light: true,
            ..Self::new(config, smallvec![queue])
        })
    }

    /// One without queues.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Arc<Self> {
        let config = TopicConfig::new(name, 1);
        Arc::new(Self::new(config, TopicQueues::new()))
    }

    /// What the topic has taken in; `None` when nothing was counted.
    pub(crate) fn counted(&self) -> Option<&TopicCounters> {
        self.counters.get().map(|counters| &**counters)
    }

    /// Where to count what the topic takes in.
    pub(crate) fn counters(&self) -> &Arc<TopicCounters> {
        self.counters.get_or_init(Arc::default)
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.topic_name
    }

    /// Whether it is a light queue.
    pub(crate) fn is_light(&self) -> bool {
        self.light
    }

    /// The name under which is counted what groups get of it: light queues may be many, and are counted together (apache/rocketmq
    /// `LmqBrokerStatsManager`).
    pub(crate) fn counted_as(&self) -> &str {
        match self.light {
            true => names::LMQ_PREFIX,
            false => self.name(),
        }
    }

    /// The queue of this number, if it may be used.
    pub(crate) fn queue(&self, queue_id: i32) -> Option<&QueueRef> {
        usize::try_from(queue_id)
            .ok()
            .and_then(|index| self.queues.get(index))
    }

    /// Whether clients may not send to it.
    pub(crate) fn is_send_forbidden(&self) -> bool {
        self.send_forbidden
    }

    /// Bytes that it takes in a registration, at most.
    pub(crate) fn registered_bytes(&self) -> usize {
        let attributes = self.config.attributes.iter();
        // An attribute's characters may be escaped; a topic's name needs no escapes, and stands twice.
        let attributes = attributes.map(|(name, value)| 16 + 6 * (name.len() + value.len()));
        256 + 2 * self.config.topic_name.len() + attributes.sum::<usize>()
    }

    /// The group whose retries it holds.
    pub(crate) fn retry_group(&self) -> Option<&str> {
        names::group_of_retry_topic(self.name())
    }

    pub(crate) fn is_system(&self) -> bool {
        self.system
    }

    /// Counts what was stored in it with that many requests.
    pub(crate) fn stored(&self, stats: &Stats, messages: u64, bytes: u64, requests: u64) {
        self.counters()
            .put
            .add(&stats.sampler, [messages, bytes, requests]);
        stats.stored(self.system, messages, bytes);
    }
}

impl Keyed for Topic {
    fn key(&self) -> &str {
        self.name()
    }
}

/// The change that gives a topic its settings.
///
/// # Errors
/// They cannot be written as JSON.
pub(crate) fn set(config: &TopicConfig) -> serde_json::Result<Change> {
    let json = serde_json::to_vec(config)?;
    Ok(Change::set(TOPICS, config.topic_name.as_str(), json))
}

/// The changes that remove a topic and make its messages unreachable: one record.
pub(crate) fn remove(name: &str) -> [Change; 2] {
    [Change::remove(TOPICS, name), Change::delete_queues(name)]
}

/// Whether the settings of a topic ask that the newest message of each key is kept.
pub(crate) fn is_compacted(config: &TopicConfig) -> bool {
    let policy = config.attributes.get(attributes::CLEANUP_POLICY);
    policy.is_some_and(|policy| policy == attributes::COMPACTION)
}

fn decode(name: &str, value: &[u8]) -> Option<TopicConfig> {
    serde_json::from_slice(value)
        .inspect_err(|error| {
            tracing::error!(
                topic = name,
                "stored settings of the topic cannot be read and are ignored: {error}"
            );
        })
        .ok()
}

/// What is read of a row is written as it was read.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_back(value: &[u8]) {
    let Some(config) = decode("t", value) else {
        return;
    };
    let json = serde_json::to_vec(&config).unwrap_or_default();
    assert_eq!(decode("t", &json), Some(config));
}

/// How many queues a topic has.
fn queue_count(config: &TopicConfig) -> i32 {
    config.read_queue_nums.max(config.write_queue_nums).max(1)
}

/// Looks the queues of a topic up.
///
/// # Errors
/// They cannot be looked up.
pub(crate) fn queues(
    config: &TopicConfig,
    mut look_up: impl FnMut(&str, i32) -> Result<QueueRef, ReadError>,
) -> Result<TopicQueues, ReadError> {
    (0..queue_count(config))
        .map(|id| look_up(&config.topic_name, id))
        .collect::<Result<_, _>>()
        .map(without_room)
}

/// The same without room for more.
fn without_room(mut queues: TopicQueues) -> TopicQueues {
    queues.shrink_to_fit();
    queues
}

/// The topics of a broker.
pub(crate) struct TopicTable {
    rows: RwLock<Rows<Arc<Topic>>>,
    /// What every broker has, and no log holds.
    builtin: Mutex<HashMap<String, TopicConfig>>,
    version: Mutex<DataVersion>,
    changes: watch::Sender<u64>,
}

impl TopicTable {
    /// With the topics that every broker has.
    pub(crate) fn new(builtin: Vec<TopicConfig>, now_ms: i64) -> Self {
        let table = Self {
            rows: RwLock::default(),
            builtin: Mutex::default(),
            version: Mutex::new(DataVersion {
                counter: 0,
                state_version: 0,
                timestamp: now_ms,
            }),
            changes: watch::Sender::new(0),
        };
        for config in builtin {
            table.insert_builtin(config, TopicQueues::new());
        }
        table
    }

    /// Sets a topic that every broker has.
    pub(crate) fn insert_builtin(&self, config: TopicConfig, queues: TopicQueues) {
        let name = config.topic_name.clone();
        self.builtin.lock().insert(name, config.clone());
        let topic = self.topic(config, queues);
        self.rows.write().insert(topic);
    }

    /// Gives each topic its queues, once the store is open.
    ///
    /// # Errors
    /// The queues of a topic cannot be looked up.
    pub(crate) fn open_queues(
        &self,
        mut look_up: impl FnMut(&str, i32) -> Result<QueueRef, ReadError>,
    ) -> Result<(), ReadError> {
        self.rows.write().replace_all(|topic| {
            let queues = queues(&topic.config, &mut look_up)?;
            Ok(Arc::new(Topic::new(topic.config.clone(), queues)))
        })
    }

    /// The topic, without allocating.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.rows.read().get(name).cloned()
    }

    /// The topic as it is when everything that was appended is confirmed.
    pub(crate) fn newest(&self, name: &str) -> Option<Arc<Topic>> {
        self.rows.read().newest(name).cloned()
    }

    /// Whether the log has said everything about a topic that was appended.
    pub(crate) fn is_applied(&self, name: &str) -> bool {
        self.rows.read().is_applied(name)
    }

    /// Every topic, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        let rows = self.rows.read();
        let mut all: Vec<_> = rows.iter().cloned().collect();
        drop(rows);
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.read().len()
    }

    /// A topic with these settings, that continues the counters of the one that there is.
    pub(crate) fn topic(&self, config: TopicConfig, queues: TopicQueues) -> Arc<Topic> {
        let known = self.newest(&config.topic_name);
        let mut topic = Topic::new(config, queues);
        if let Some(known) = known {
            // Both count in one place: who has the old topic still counts for it.
            topic.counters = Arc::clone(known.counters()).into();
            if known.quota.is_some() {
                topic.quota = Quota::of(&topic.config.attributes, known.quota.as_ref());
            }
        }
        Arc::new(topic)
    }

    /// A change of a topic was appended, and its record ends at `until`. `is_seen`: it counts at once.
    pub(crate) fn appended(
        &self,
        name: &str,
        topic: Option<Arc<Topic>>,
        until: u64,
        is_seen: bool,
    ) {
        self.rows.write().appended(name, topic, until, is_seen);
    }

    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Counts changes, for those who tell others of them.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Something has changed that name servers are told.
    pub(crate) fn changed(&self, now_ms: i64) {
        {
            let mut version = self.version.lock();
            version.counter += 1;
            version.timestamp = now_ms;
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Apply for TopicTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let (key, end) = (change.key, change.end.0);
        let is_own = self.rows.write().settle(key, end);
        if !is_own || change.value.is_none() {
            let config = change.value.and_then(|value| decode(key, value));
            let config = config.or_else(|| self.builtin.lock().get(key).cloned());
            let topic = match config {
                Some(config) => {
                    let look_up = |topic: &str, id| change.queue(topic, id);
                    let queues = (0..queue_count(&config))
                        .filter_map(|id| look_up(&config.topic_name, id))
                        .collect::<Result<_, _>>()
                        .map(without_room)?;
                    Some(self.topic(config, queues))
                }
                None => None,
            };
            self.rows.write().apply(key, topic, end);
        }
        if change.is_live() {
            self.changed(change.store_ms);
        }
        Ok(())
    }
}
