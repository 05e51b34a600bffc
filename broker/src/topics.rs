//! The topic table: settings of each topic at this broker, with its queues looked up once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{DataVersion, TopicConfig, TopicConfigTable};
use rmq_protocol::names::{self, AUTO_CREATE_TOPIC, BENCHMARK_TOPIC, NameError};
use rmq_protocol::route::perm;
use rmq_store::{Change, QueueRef, ReadError, SettingsError, Store, Table};
use tokio::sync::watch;

use crate::limits::Limits;
use crate::stats::{ByQueue, Flow, Stats};

/// What a topic allows after whose settings others may be made.
const INHERITED: i32 = perm::READ | perm::WRITE | perm::INHERIT;

/// A topic and its queues.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) config: TopicConfig,
    /// As many as the larger of read and write queues.
    pub(crate) queues: Box<[QueueRef]>,
    pub(crate) counters: Arc<TopicCounters>,
    send_forbidden: bool,
    system: bool,
}

/// What a topic has taken in since the broker started. Kept when the topic's settings change.
#[derive(Debug, Default)]
pub(crate) struct TopicCounters {
    pub(crate) put: Flow,
    /// Milliseconds and number of the sends to each queue.
    pub(crate) put_took: ByQueue<2>,
}

impl Topic {
    /// One without queues.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Arc<Self> {
        Arc::new(Self {
            config: TopicConfig::new(name, 1),
            queues: Box::default(),
            counters: Arc::default(),
            send_forbidden: false,
            system: false,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.topic_name
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
        self.counters
            .put
            .add(&stats.sampler, [messages, bytes, requests]);
        stats.stored(self.system, messages, bytes);
    }
}

/// Settings and queues of a topic that is about to be made or changed.
struct NewTopic {
    config: TopicConfig,
    queues: Box<[QueueRef]>,
}

type Map = HashMap<Arc<str>, Arc<Topic>, foldhash::fast::RandomState>;

/// All topics of this broker.
pub(crate) struct Topics {
    store: Store,
    table: RwLock<Map>,
    /// Changes of settings, one at a time, so that table and log agree on their order.
    changing: tokio::sync::Mutex<()>,
    version: Mutex<DataVersion>,
    changes: watch::Sender<u64>,
    limits: Limits,
}

/// Why a topic cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the topic {0} belongs to the system")]
    System(String),
    #[error(
        "the topic {topic} cannot have {queues} queues ({field}); 1 to {max} are allowed (queuesPerTopicMax)"
    )]
    Queues {
        topic: String,
        field: &'static str,
        queues: i32,
        max: i32,
    },
    #[error(
        "the permission (perm) {perm} of topic {topic} is not a combination of 4 (read), 2 (write) and 1 (inherit)"
    )]
    Perm { topic: String, perm: i32 },
    #[error(
        "the broker has {0} topics, the limit (topicsMax); delete some, or spread them over more brokers"
    )]
    TooMany(usize),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] SettingsError),
}

impl Topics {
    /// Loads the topics from the store and adds the system's own.
    ///
    /// # Errors
    /// The queues of a topic cannot be looked up.
    pub(crate) fn load(
        store: &Store,
        system: Vec<TopicConfig>,
        limits: Limits,
        now_ms: i64,
    ) -> Result<Self, ReadError> {
        let topics = Self {
            store: store.clone(),
            table: RwLock::default(),
            changing: tokio::sync::Mutex::new(()),
            version: Mutex::new(DataVersion {
                counter: 0,
                state_version: 0,
                timestamp: now_ms,
            }),
            changes: watch::Sender::new(0),
            limits,
        };
        for config in system {
            topics.insert(topics.with_queues(config)?);
        }
        for (name, value) in store.settings().scan(Table::Topics) {
            match serde_json::from_slice::<TopicConfig>(&value) {
                Ok(config) => {
                    topics.insert(topics.with_queues(config)?);
                }
                Err(error) => tracing::error!(
                    topic = name,
                    "stored settings of the topic cannot be read and are ignored: {error}"
                ),
            }
        }
        Ok(topics)
    }

    /// The topics that every broker has.
    pub(crate) fn system(
        cluster: &str,
        broker: &str,
        auto_create: bool,
        delay_levels: i32,
    ) -> Vec<TopicConfig> {
        let topic = |name: &str, queues, perm| TopicConfig {
            perm,
            ..TopicConfig::new(name, queues)
        };
        let system = vec![
            topic(
                names::SCHEDULE_TOPIC,
                delay_levels,
                perm::READ | perm::WRITE,
            ),
            topic(names::SELF_TEST_TOPIC, 1, perm::READ | perm::WRITE),
            topic(names::OFFSET_MOVED_EVENT_TOPIC, 1, perm::READ | perm::WRITE),
            topic(names::TRACE_TOPIC, 1, perm::READ | perm::WRITE),
            topic(BENCHMARK_TOPIC, 16, perm::READ | perm::WRITE),
            topic(cluster, 16, INHERITED),
            topic(broker, 1, INHERITED),
        ];
        let template = auto_create.then(|| auto_create_template(INHERITED));
        system.into_iter().chain(template).collect()
    }

    /// Whether a message for an unknown topic makes it.
    pub(crate) fn auto_creates(&self) -> bool {
        self.get(AUTO_CREATE_TOPIC)
            .is_some_and(|template| perm::is_inherited(template.config.perm))
    }

    /// Begins or ends that. Clients hear of it by the route of the template: a name server keeps a topic that is not registered any more,
    /// so it stays, and nobody sends by it.
    ///
    /// # Errors
    /// The queues of the template cannot be looked up.
    pub(crate) fn set_auto_create(&self, wanted: bool, now_ms: i64) -> Result<(), ReadError> {
        if wanted != self.auto_creates() {
            let perm = if wanted { INHERITED } else { 0 };
            self.publish(self.with_queues(auto_create_template(perm))?, now_ms);
        }
        Ok(())
    }

    /// The topic, without allocating.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.read().get(name).cloned()
    }

    /// Every topic, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        let mut all: Vec<_> = self.table.read().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.table.read().len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Counts changes, for whoever tells others of them.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Every topic with its settings.
    pub(crate) fn registration(&self) -> TopicConfigTable {
        TopicConfigTable {
            data_version: self.version(),
            topic_config_table: self
                .all()
                .iter()
                .map(|topic| (topic.config.topic_name.clone(), topic.config.clone()))
                .collect(),
            ..TopicConfigTable::default()
        }
    }

    /// What name servers are told has changed, without a change of any topic.
    pub(crate) fn touch(&self, now_ms: i64) {
        self.changed(now_ms);
    }

    /// Whether a topic may have these settings.
    pub(crate) fn check(&self, config: &TopicConfig) -> Result<(), TopicError> {
        check(config, self.limits.queues_per_topic)
    }

    /// Creates or changes a topic; returns when that is as durable as a message.
    pub(crate) async fn put(
        &self,
        config: TopicConfig,
        now_ms: i64,
    ) -> Result<Arc<Topic>, TopicError> {
        check(&config, self.limits.queues_per_topic)?;
        let _changing = self.changing.lock().await;
        if self
            .get(&config.topic_name)
            .is_some_and(|topic| topic.config == config)
        {
            return self
                .get(&config.topic_name)
                .ok_or(TopicError::TooMany(self.limits.topics));
        }
        let change = self.prepare(&config)?;
        let topic = self.with_queues(config)?;
        self.store.settings().put_and_wait(&[change]).await?;
        Ok(self.publish(topic, now_ms))
    }

    /// Creates a topic from the message path: the settings record goes into the log before the message that needs it, and
    /// is written with it.
    pub(crate) fn create_now(
        &self,
        config: TopicConfig,
        now_ms: i64,
    ) -> Result<Arc<Topic>, TopicError> {
        check(&config, self.limits.queues_per_topic)?;
        if let Some(topic) = self.get(&config.topic_name) {
            return Ok(topic);
        }
        let change = self.prepare(&config)?;
        let topic = self.with_queues(config)?;
        self.store.settings().put(&[change])?;
        Ok(self.publish(topic, now_ms))
    }

    fn prepare(&self, config: &TopicConfig) -> Result<Change, TopicError> {
        if self.len() >= self.limits.topics && self.get(&config.topic_name).is_none() {
            return Err(TopicError::TooMany(self.limits.topics));
        }
        let json =
            serde_json::to_vec(config).map_err(|_| TopicError::TooMany(self.limits.topics))?;
        Ok(Change::set(Table::Topics, config.topic_name.clone(), json))
    }

    /// The topic for a message to an unknown topic, made after the template that the request names.
    pub(crate) fn auto_create(
        &self,
        name: &str,
        template: &str,
        queues: i32,
        now_ms: i64,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        let Some(template) = self.get(template) else {
            return Ok(None);
        };
        if !perm::is_inherited(template.config.perm) {
            return Ok(None);
        }
        let queues = queues.min(template.config.write_queue_nums).max(1);
        let config = TopicConfig {
            perm: template.config.perm & !perm::INHERIT,
            topic_sys_flag: template.config.topic_sys_flag,
            topic_filter_type: template.config.topic_filter_type,
            ..TopicConfig::new(name, queues)
        };
        self.create_now(config, now_ms).map(Some)
    }

    /// Removes a topic and makes its messages unreachable. Whether there was one.
    pub(crate) async fn delete(&self, name: &str, now_ms: i64) -> Result<bool, TopicError> {
        let _changing = self.changing.lock().await;
        if self.table.read().get(name).is_none() {
            return Ok(false);
        }
        self.store
            .settings()
            .put_and_wait(&[Change::remove(Table::Topics, name)])
            .await?;
        self.store.delete_queues(name).await?;
        self.table.write().remove(name);
        self.changed(now_ms);
        Ok(true)
    }

    fn publish(&self, topic: NewTopic, now_ms: i64) -> Arc<Topic> {
        let topic = self.insert(topic);
        self.changed(now_ms);
        topic
    }

    /// Looks the queues up, before anything is stored: what fails here changes nothing.
    fn with_queues(&self, config: TopicConfig) -> Result<NewTopic, ReadError> {
        let queues = config.read_queue_nums.max(config.write_queue_nums).max(1);
        let queues = (0..queues)
            .map(|id| self.store.queue(&config.topic_name, id))
            .collect::<Result<_, _>>()?;
        Ok(NewTopic { config, queues })
    }

    fn insert(&self, NewTopic { config, queues }: NewTopic) -> Arc<Topic> {
        let mut table = self.table.write();
        let counters = table
            .get(config.topic_name.as_str())
            .map(|old| Arc::clone(&old.counters))
            .unwrap_or_default();
        let name: Arc<str> = Arc::from(config.topic_name.as_str());
        let send_forbidden = names::is_send_forbidden(&config.topic_name);
        let system = names::is_system_topic(&config.topic_name);
        let topic = Arc::new(Topic {
            config,
            queues,
            counters,
            send_forbidden,
            system,
        });
        table.insert(name, Arc::clone(&topic));
        topic
    }

    fn changed(&self, now_ms: i64) {
        {
            let mut version = self.version.lock();
            version.counter += 1;
            version.timestamp = now_ms;
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The topic after whose settings unknown ones are made.
fn auto_create_template(perm: i32) -> TopicConfig {
    TopicConfig {
        perm,
        ..TopicConfig::new(AUTO_CREATE_TOPIC, 8)
    }
}

fn check(config: &TopicConfig, queues_max: i32) -> Result<(), TopicError> {
    names::validate_topic(&config.topic_name)?;
    for (field, queues) in [
        ("readQueueNums", config.read_queue_nums),
        ("writeQueueNums", config.write_queue_nums),
    ] {
        // Queues may be taken away from readers or writers altogether while a topic shrinks.
        if !(0..=queues_max).contains(&queues) {
            return Err(TopicError::Queues {
                topic: config.topic_name.clone(),
                field,
                queues,
                max: queues_max,
            });
        }
    }
    if config.read_queue_nums.max(config.write_queue_nums) == 0 {
        return Err(TopicError::Queues {
            topic: config.topic_name.clone(),
            field: "readQueueNums and writeQueueNums",
            queues: 0,
            max: queues_max,
        });
    }
    if config.perm & !(perm::READ | perm::WRITE | perm::INHERIT | perm::PRIORITY) != 0 {
        return Err(TopicError::Perm {
            topic: config.topic_name.clone(),
            perm: config.perm,
        });
    }
    Ok(())
}
