//! Topics: how their settings at this broker are changed.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::bodies::{DataVersion, TopicConfig, TopicConfigTable};
use rmq_protocol::message::LogPosition;
use rmq_protocol::names::{self, AUTO_CREATE_TOPIC, BENCHMARK_TOPIC, NameError};
use rmq_protocol::route::perm;
use rmq_store::{Change, ReadError, SettingsError};
use tokio::sync::watch;

use crate::data::Data;
use crate::light::LightQueues;
use crate::limits::Limits;
use crate::offsets::ConsumerOffsets;
pub(crate) use crate::tables::topics::Topic;
use crate::tables::topics::{self, TopicQueues, TopicTable};

/// What a topic allows after whose settings others may be made.
const INHERITED: i32 = perm::READ | perm::WRITE | perm::INHERIT;

/// All topics of this broker.
pub(crate) struct Topics {
    store: Data,
    table: Arc<TopicTable>,
    /// Held while a change is decided and appended, so that each change builds on the one before it in the log.
    deciding: Mutex<()>,
    limits: Limits,
    light: Arc<LightQueues>,
}

/// Why a topic cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the topic {0} belongs to the system")]
    System(String),
    #[error(
        "the topic {0} cannot have cleanup.policy COMPACTION: each retry and each dead letter counts by itself"
    )]
    Compacted(String),
    #[error(
        "{0} is the name of a light queue (enableLmq): it has no settings and needs no creation"
    )]
    Light(String),
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
    /// The topics of a store that was opened with `table`.
    ///
    /// # Errors
    /// The queues of a topic cannot be looked up.
    pub(crate) fn open(
        store: &Data,
        table: Arc<TopicTable>,
        limits: Limits,
        light: &Arc<LightQueues>,
    ) -> Result<Self, ReadError> {
        table.open_queues(|topic, id| store.queue(topic, id))?;
        Ok(Self {
            store: store.clone(),
            table,
            deciding: Mutex::default(),
            limits,
            light: Arc::clone(light),
        })
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
            topic(names::TIMER_TOPIC, 1, perm::READ | perm::WRITE),
            // Nobody reads what is not committed.
            topic(names::TRANS_HALF_TOPIC, 1, perm::WRITE),
            topic(
                names::TRANS_CHECK_MAX_TIME_TOPIC,
                1,
                perm::READ | perm::WRITE,
            ),
            topic(names::SELF_TEST_TOPIC, 1, perm::READ | perm::WRITE),
            topic(names::OFFSET_MOVED_EVENT_TOPIC, 1, perm::READ | perm::WRITE),
            topic(names::TRACE_TOPIC, 1, perm::READ | perm::WRITE),
            topic(BENCHMARK_TOPIC, 16, perm::READ | perm::WRITE),
            topic(&names::reply_topic(cluster), 1, perm::READ | perm::WRITE),
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
            let config = auto_create_template(perm);
            let queues = self.queues(&config)?;
            self.table.insert_builtin(config, queues);
            self.table.changed(now_ms);
        }
        Ok(())
    }

    /// The topic, without allocating; a light queue as one.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.get(name).or_else(|| self.light.topic(name))
    }

    /// The topic, if it has settings: a light queue has none.
    pub(crate) fn with_settings(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.get(name)
    }

    /// Every topic, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.table.all()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.table.version()
    }

    /// Counts changes, for those who tell others of them.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.table.changes()
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
        self.table.changed(now_ms);
    }

    /// Whether a topic may have these settings.
    pub(crate) fn check(&self, config: &TopicConfig) -> Result<(), TopicError> {
        let name = config.topic_name.as_str();
        if self.light.is_queue(name) && self.table.newest(name).is_none() {
            return Err(TopicError::Light(name.to_owned()));
        }
        let is_of_group = names::is_retry_topic(name) || names::is_dlq_topic(name);
        if is_of_group && topics::is_compacted(config) {
            return Err(TopicError::Compacted(name.to_owned()));
        }
        check(config, self.limits.queues_per_topic)
    }

    /// Creates or changes a topic; returns when that is as durable as a message, and counts.
    pub(crate) async fn put(&self, config: TopicConfig) -> Result<Arc<Topic>, TopicError> {
        self.check(&config)?;
        // Looked up before anything is stored: what fails here changes nothing, and no disk is asked when the change is applied.
        let queues = self.queues(&config)?;
        let (topic, end) = {
            let _deciding = self.deciding.lock();
            let known = self.table.get(&config.topic_name);
            match known.filter(|known| known.config == config) {
                Some(known) if self.table.is_applied(&config.topic_name) => return Ok(known),
                _ => self.append(config, queues, false)?,
            }
        };
        self.store.settings()?.wait(end).await?;
        Ok(topic)
    }

    /// Creates a topic from the message path: the settings record goes into the log before the message that needs the topic.
    pub(crate) fn create_now(&self, config: TopicConfig) -> Result<Arc<Topic>, TopicError> {
        self.check(&config)?;
        let queues = self.queues(&config)?;
        let topic = {
            let _deciding = self.deciding.lock();
            if let Some(topic) = self.table.newest(&config.topic_name) {
                return Ok(topic);
            }
            self.append(config, queues, true)?.0
        };
        // A heartbeat brings no write that would take it along. What fails here fails the message, which says so.
        let _ = self.store.write_out();
        Ok(topic)
    }

    /// Appends a topic's settings.
    fn append(
        &self,
        config: TopicConfig,
        queues: TopicQueues,
        is_seen: bool,
    ) -> Result<(Arc<Topic>, LogPosition), TopicError> {
        let max = self.limits.topics;
        if self.len() >= max && self.table.newest(&config.topic_name).is_none() {
            return Err(TopicError::TooMany(max));
        }
        let change = topics::set(&config).map_err(|_| TopicError::TooMany(max))?;
        let topic = self.table.topic(config, queues);
        let end = self.store.settings()?.put(&[change])?;
        let appended = Some(Arc::clone(&topic));
        self.table.appended(topic.name(), appended, end.0, is_seen);
        Ok((topic, end))
    }

    /// The topic for a message to an unknown topic, made after the template that the request names.
    pub(crate) fn auto_create(
        &self,
        name: &str,
        template: &str,
        queues: i32,
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
        self.create_now(config).map(Some)
    }

    /// Removes a topic, makes its messages unreachable, and forgets the offsets that groups have of it, all with one record where
    /// it fits one; returns when that is as durable as a message. Whether there was one. Of a light queue the messages become unreachable there, and
    /// stay in their topics.
    pub(crate) async fn delete(
        &self,
        name: &str,
        offsets: &ConsumerOffsets,
    ) -> Result<bool, TopicError> {
        let (was_there, removed) = {
            let _deciding = self.deciding.lock();
            let was_there = self.table.newest(name).is_some();
            let is_light = !was_there && self.light.is_queue(name);
            let changes = match (was_there, is_light) {
                (true, _) => topics::remove(name).to_vec(),
                (false, true) => vec![Change::delete_queues(name)],
                (false, false) => Vec::new(),
            };
            let removed = offsets.remove_topic_with(changes, name)?;
            if let Some(end) = removed.first_end.filter(|_| was_there) {
                self.table.appended(name, None, end.0, false);
            }
            (was_there || is_light, removed)
        };
        if let Some(end) = removed.end {
            self.store.settings()?.wait(end).await?;
        }
        Ok(was_there)
    }

    fn queues(&self, config: &TopicConfig) -> Result<TopicQueues, ReadError> {
        topics::queues(config, |topic, id| self.store.queue(topic, id))
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
