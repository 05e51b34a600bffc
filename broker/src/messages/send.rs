//! Sending: messages are appended one by one or as a batch, and are acknowledged together at the end of a [`SendBatch`]. Order of the
//! checks: apache/rocketmq `AbstractSendMessageProcessor.msgCheck`, `SendMessageProcessor.sendMessage`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayString;
use rmq_protocol::message::batch::BatchEntry;
use rmq_protocol::message::{
    LogPosition, RecallHandle, RecordError, properties, property, tag_hash,
};
use rmq_protocol::names;
use rmq_protocol::route::perm;
use rmq_store::{Appended, NewMessage, QueueRef};
use smallvec::SmallVec;

use super::copy;
use super::incoming::{self, Found, Incoming};
use super::put::Put;
use super::refusal::{NoGroup, PropertyRefusal, SendRefusal, SendingForbidden, TopicWithoutQueue};
use super::way::{self, Retry, Way};
use crate::audit::{self, Origin};
use crate::broker::Broker;
use crate::clock_watch::Moment;
use crate::delay::levels::Timer;
use crate::groups::Group;
use crate::light::{self, FurtherQueues};
use crate::limits;
use crate::tables::half as table;
use crate::topics::Topic;
use crate::transactions::half;

/// A message, or a batch, that is appended and not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The end of its last record.
    pub(crate) end: LogPosition,
    pub(crate) queue_id: i32,
    /// Of a batch that of its first message.
    pub(crate) queue_offset: i64,
    /// The log position of each message.
    pub(crate) positions: SmallVec<[u64; 1]>,
    pub(crate) unique_key: UniqueKey,
    /// What recalls it, of a message that waits for a timer.
    pub(crate) recall_handle: Option<Box<str>>,
}

/// The client's id of a message. Those of all clients are short.
#[derive(Debug)]
pub(crate) enum UniqueKey {
    Short(ArrayString<40>),
    Long(Box<str>),
}

impl UniqueKey {
    fn of(key: &str) -> Self {
        ArrayString::from(key).map_or_else(|_| Self::Long(key.into()), Self::Short)
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Short(key) => key,
            Self::Long(key) => key,
        }
    }
}

/// What was appended to the topics of a batch of sends.
pub(crate) type Puts = SmallVec<[Put; 1]>;

/// Sends that are acknowledged together.
#[derive(Debug, Default)]
pub(crate) struct SendBatch {
    /// The properties of the next message.
    properties: String,
    /// What was appended to the topic of the last send: most sends of a batch go to the same.
    recent: Option<Put>,
    /// What was appended to other topics.
    puts: Puts,
    /// When the first send of the batch was looked at, Unix milliseconds.
    now_ms: Option<i64>,
}

/// What the steps of one send share.
struct Sending<'a> {
    broker: &'a Broker,
    origin: &'a dyn Origin,
    incoming: &'a Incoming<'a>,
    now_ms: i64,
    /// For messages that go to another topic than the one they were sent to.
    elsewhere: &'a mut Puts,
}

impl SendBatch {
    /// Where the properties of the next message go: empty, with the room of those before.
    pub(crate) fn properties(&mut self) -> &mut String {
        self.properties.clear();
        &mut self.properties
    }

    /// Appends a message, whose properties are in [`SendBatch::properties`].
    ///
    /// # Errors
    /// Nothing is appended.
    pub(crate) fn send(
        &mut self,
        broker: &Broker,
        origin: &dyn Origin,
        incoming: &Incoming<'_>,
    ) -> Result<Sent, SendRefusal> {
        let now_ms = *self.now_ms.get_or_insert_with(|| broker.now_ms());
        let recent = recent_topic(broker, origin, &mut self.recent, &mut self.puts, incoming)?;
        let mut sending = Sending {
            broker,
            origin,
            incoming,
            now_ms,
            elsewhere: &mut self.puts,
        };
        let queue_id = sending.check(&recent.topic)?;
        if !recent.has_quota() {
            return sending.append(recent, queue_id, &mut self.properties);
        }
        let bytes = incoming.body.len();
        recent.check_quota(broker, incoming.connection, bytes)?;
        let sent = sending.append(recent, queue_id, &mut self.properties)?;
        recent.take_quota(broker, 1, bytes);
        Ok(sent)
    }

    /// Appends a batch of messages for one queue, all or none. The properties of the batch as a whole are in [`SendBatch::properties`].
    ///
    /// # Errors
    /// Nothing is appended.
    pub(crate) fn send_many<'m>(
        &mut self,
        broker: &Broker,
        origin: &dyn Origin,
        incoming: &Incoming<'_>,
        members: impl Iterator<Item = Result<BatchEntry<'m>, RecordError>>,
    ) -> Result<Sent, SendRefusal> {
        let now_ms = *self.now_ms.get_or_insert_with(|| broker.now_ms());
        let recent = recent_topic(broker, origin, &mut self.recent, &mut self.puts, incoming)?;
        let sending = Sending {
            broker,
            origin,
            incoming,
            now_ms,
            elsewhere: &mut self.puts,
        };
        let queue_id = sending.check(&recent.topic)?;
        let bytes_sent = incoming.body.len();
        if recent.has_quota() {
            recent.check_quota(broker, incoming.connection, bytes_sent)?;
        }
        let unique_key = properties::get(&self.properties, property::UNIQ_KEY).unwrap_or_default();
        let (sent, bytes) = sending.append_many(&recent.topic, queue_id, unique_key, members)?;
        let messages = sent.positions.len();
        recent.appended(queue_id, messages as u64, bytes);
        if recent.has_quota() {
            recent.take_quota(broker, messages, bytes_sent);
        }
        Ok(sent)
    }

    /// Ends the batch: what it appended, to be counted when it is acknowledged.
    pub(crate) fn take_puts(&mut self) -> Puts {
        self.now_ms = None;
        let mut puts = std::mem::take(&mut self.puts);
        if let Some(recent) = self.recent.take().filter(|put| put.requests > 0) {
            puts.push(recent);
        }
        puts
    }
}

/// Whether the topic takes messages of this type, where that is checked. Topics of retries and dead letters say no type.
fn check_type(broker: &Broker, topic: &Topic, found: &Found) -> Result<(), PropertyRefusal> {
    let Some(expected) = topic.message_type else {
        return Ok(());
    };
    if !broker.config.topic_message_type_check {
        return Ok(());
    }
    let actual = found.message_type();
    match expected.takes(actual) {
        true => Ok(()),
        false => Err(PropertyRefusal::OtherType {
            topic: topic.name().to_owned(),
            expected,
            actual,
        }),
    }
}

/// Whether the message has a key, where the topic keeps the newest of each. Checked for all that are sent to it, also if they are to wait first.
fn check_key(topic: &Topic, keys: Option<&str>) -> Result<(), PropertyRefusal> {
    let has_key = keys.is_some_and(|keys| !keys.trim().is_empty());
    match topic.is_compacted && !has_key {
        true => Err(PropertyRefusal::NoKey(topic.name().to_owned())),
        false => Ok(()),
    }
}

/// The topic of this send. Most sends of a batch go to one topic, which is then looked up once: as the whole batch had been received
/// before that, no send of it came after a change that this look did not see.
fn recent_topic<'a>(
    broker: &Broker,
    origin: &dyn Origin,
    recent: &'a mut Option<Put>,
    puts: &mut Puts,
    incoming: &Incoming<'_>,
) -> Result<&'a mut Put, SendRefusal> {
    if broker.is_stopping() {
        return Err(SendRefusal::Stopping);
    }
    let is_same = |put: &Put| put.topic.name() == incoming.topic;
    if !recent.as_ref().is_some_and(is_same) {
        let topic = topic_for(broker, origin, incoming)?;
        if let Some(put) = recent.take().filter(|put| put.requests > 0) {
            puts.push(put);
        }
        *recent = Some(Put::to(topic));
    }
    recent
        .as_mut()
        .ok_or(SendRefusal::Defect("the topic of this send was not kept"))
}

/// Whether the broker takes messages.
pub(crate) fn check_permission(broker: &Broker) -> Result<(), SendingForbidden> {
    let permission = broker.permission();
    if perm::is_writable(permission) {
        return Ok(());
    }
    Err(SendingForbidden {
        addr: broker.identity.addr.clone(),
        permission,
    })
}

/// The group of a retry topic, made when that is allowed.
pub(crate) fn group_for(
    broker: &Broker,
    origin: &dyn Origin,
    group: &str,
) -> Result<Arc<Group>, NoGroup> {
    audit::group_of(broker, origin, group).map_err(|error| NoGroup {
        group: group.to_owned(),
        error: Box::new(error),
    })
}

fn topic_for(
    broker: &Broker,
    origin: &dyn Origin,
    incoming: &Incoming<'_>,
) -> Result<Arc<Topic>, SendRefusal> {
    let name = incoming.topic;
    if let Some(topic) = broker.topics.get(name) {
        if topic.is_send_forbidden() {
            return Err(SendRefusal::TopicForbidden(name.to_owned()));
        }
        return Ok(topic);
    }
    names::validate_topic(name).map_err(SendRefusal::TopicName)?;
    if names::is_send_forbidden(name) || names::is_system_topic(name) {
        return Err(SendRefusal::TopicForbidden(name.to_owned()));
    }
    let created = match names::group_of_retry_topic(name) {
        Some(group) => {
            let settings = group_for(broker, origin, group)?;
            let queues = settings.config.retry_queue_nums.max(1);
            broker.retry_topic(group, queues).map(Some)
        }
        None => broker
            .topics
            .auto_create(name, incoming.template, incoming.template_queues),
    };
    let created = created.map_err(|error| SendRefusal::Topic(Box::new(error)))?;
    let topic = created.ok_or_else(|| SendRefusal::NoTopic {
        topic: name.to_owned(),
        template: incoming.template.to_owned(),
    })?;
    if topic.retry_group().is_none() {
        let (what, name) = ("topic created by its first message", topic.name());
        origin
            .asker()
            .changed(what, name, None, audit::text(&topic.config));
    }
    Ok(topic)
}

impl Sending<'_> {
    /// What messages and batches are checked for alike; the queue.
    fn check(&self, topic: &Topic) -> Result<i32, SendRefusal> {
        let (broker, incoming) = (self.broker, self.incoming);
        check_permission(broker)?;
        broker.member.check_writes()?;
        if incoming.body.len() > limits::BODY_BYTES_MAX {
            return Err(SendRefusal::BodyTooLarge(incoming.body.len()));
        }
        let queue_id = if incoming.queue_id < 0 {
            broker.random_queue(topic.config.write_queue_nums)
        } else {
            incoming.queue_id
        };
        self.queue(topic, queue_id)?;
        Ok(queue_id)
    }

    fn queue<'t>(&self, topic: &'t Topic, queue_id: i32) -> Result<&'t QueueRef, SendRefusal> {
        let config = &topic.config;
        topic.queue(queue_id).ok_or_else(|| SendRefusal::NoQueue {
            topic: topic.name().to_owned(),
            queue_id,
            queues: config.write_queue_nums.max(config.read_queue_nums),
            producer: self.incoming.born_host,
        })
    }

    fn append(
        &mut self,
        recent: &mut Put,
        queue_id: i32,
        properties: &mut String,
    ) -> Result<Sent, SendRefusal> {
        let (broker, incoming) = (self.broker, self.incoming);
        let topic = Arc::as_ref(&recent.topic);
        let retry_group = topic.retry_group();
        let is_retry = retry_group.is_some();
        let found = incoming::complete(broker, properties, is_retry)?;
        check_type(broker, topic, &found)?;
        check_key(topic, found.keys.clone().map(|range| &properties[range]))?;
        let of_priority = found.queue_of_priority(topic.config.write_queue_nums);
        let queue_id = of_priority.unwrap_or(queue_id);
        let text = properties.as_str();
        let named = found.further.clone().filter(|_| !is_retry);
        let further = match named {
            Some(names) => self.light_queues(&text[names])?,
            None => FurtherQueues::new(),
        };
        // Room for a retry was left when the message was sent first.
        if !is_retry {
            let further = further.len();
            incoming::check_room(broker, topic.name(), incoming.body, text, further)?;
        }
        if incoming.reconsume_times < 0 {
            return Err(SendRefusal::ReconsumeTimes(incoming.reconsume_times));
        }
        let message = NewMessage {
            queue: self.queue(topic, queue_id)?,
            topic: topic.name(),
            flag: incoming.flag,
            sys_flag: half::without_transaction(incoming.sys_flag),
            born_ms: incoming.born_ms,
            born_host: incoming.born_host,
            reconsume_times: incoming.reconsume_times,
            prepared_position: 0,
            body: incoming.body,
            properties: text.as_bytes(),
            tag_hash: found.tags.clone().map_or(0, |range| tag_hash(&text[range])),
            keys: found.keys.clone().map_or("", |range| &text[range]),
            unique_key: &text[found.unique_key.clone()],
            // One that waits is entered into them when it comes to its topic.
            further: &[],
        };
        let timer = match found.is_timed() {
            true => self.timer(&found)?,
            false => None,
        };
        let (level, is_timed) = (found.delay_level, timer.is_some());
        let way = match retry_group {
            None => way::of_sent(level, is_timed, found.is_half),
            Some(group) => self.way_of_retry(group, level, is_timed)?,
        };
        match way {
            Way::Queue => {
                let compacted = topic.is_compacted.then(|| rmq_store::compacted(text));
                let properties = compacted.as_deref().unwrap_or(text);
                let message = NewMessage {
                    further: &further,
                    properties: properties.as_bytes(),
                    ..message
                };
                let (sent, size) = self.store(&message, queue_id)?;
                recent.appended(queue_id, 1, size);
                Ok(sent)
            }
            Way::Delay(level) => self.append_delayed(&message, text, queue_id, level),
            Way::Timer => match timer {
                Some((now, timer)) => self.append_timer(&message, text, queue_id, now, timer),
                None => Err(SendRefusal::Defect("the time of this send was not kept")),
            },
            Way::DeadLetter => self.append_dead_letter(&message, text),
            Way::Half => self.append_half(&message, text, queue_id),
        }
    }

    /// The time that a message asks for, as seen now; `None`: it has come.
    fn timer(&self, found: &Found) -> Result<Option<(Moment, Timer)>, PropertyRefusal> {
        let broker = self.broker;
        let now = broker.clock_watch.look_to_store(&broker.store);
        let Some(timer) = found.timer(now.wall_ms) else {
            return Ok(None);
        };
        let delay_ms = timer.due_ms.saturating_sub(now.wall_ms);
        let max_ms = broker.config.timer_max_delay_sec.saturating_mul(1_000);
        if delay_ms > max_ms && found.delay_level <= 0 {
            return Err(PropertyRefusal::TimerTooFar { delay_ms, max_ms });
        }
        Ok((delay_ms > 0).then_some((now, timer)))
    }

    fn way_of_retry(
        &self,
        group: &str,
        delay_level: i32,
        is_timed: bool,
    ) -> Result<Way, SendRefusal> {
        let (broker, incoming) = (self.broker, self.incoming);
        let settings = group_for(broker, self.origin, group)?;
        let retry = Retry {
            tries: incoming.reconsume_times,
            tries_max: incoming
                .max_reconsume_times
                .unwrap_or(settings.config.retry_max_times),
            delay_level,
        };
        let in_order = broker.locks.is_any_held(group, broker.connection_now_ms());
        let way = way::of_sent_retry(retry, is_timed, in_order);
        if way == Way::DeadLetter {
            let counters = settings.counters();
            counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        }
        Ok(way)
    }

    /// A message of a retry topic goes to the dead letters of the topic's group.
    fn append_dead_letter(
        &mut self,
        message: &NewMessage<'_>,
        text: &str,
    ) -> Result<Sent, SendRefusal> {
        let group = names::group_of_retry_topic(message.topic).unwrap_or(message.topic);
        let topic = self
            .broker
            .dead_letter_topic(group)
            .map_err(|error| SendRefusal::Topic(Box::new(error)))?;
        let queue = topic.queue(0);
        let kept = copy::with(text, &[(property::DELAY, Some("-1"))]);
        let dead = NewMessage {
            queue: queue.ok_or_else(|| TopicWithoutQueue(topic.name().to_owned()))?,
            topic: topic.name(),
            properties: kept.as_bytes(),
            ..*message
        };
        let (sent, size) = self.store(&dead, 0)?;
        let mut put = Put::to(Arc::clone(&topic));
        put.appended(0, 1, size);
        self.elsewhere.push(put);
        Ok(sent)
    }

    /// Parks the message under its delay level.
    fn append_delayed(
        &mut self,
        message: &NewMessage<'_>,
        text: &str,
        queue_id: i32,
        level: i32,
    ) -> Result<Sent, SendRefusal> {
        let broker = self.broker;
        let now = broker.clock_watch.look_to_store(&broker.store);
        let delayed = broker.delay.park(now, text, message.topic, queue_id, level);
        let parked = NewMessage {
            queue: &delayed.queue,
            topic: names::SCHEDULE_TOPIC,
            properties: delayed.properties.as_bytes(),
            ..*message
        };
        let Some(topic) = broker.topics.get(names::SCHEDULE_TOPIC) else {
            return Err(SendRefusal::NoDelayTopic);
        };
        let level_queue = delayed.queue.queue_id();
        let (sent, size) = self.store(&parked, level_queue)?;
        let mut put = Put::to(topic);
        // How long it took is shown by the queue that it was sent to, as upstream does.
        put.appended(queue_id, 1, size);
        self.elsewhere.push(put);
        let stats = &broker.stats;
        stats.delayed.add(stats, level_queue, [1, size, 1]);
        Ok(sent)
    }

    /// Parks the message until its time has come.
    fn append_timer(
        &mut self,
        message: &NewMessage<'_>,
        text: &str,
        queue_id: i32,
        now: Moment,
        timer: Timer,
    ) -> Result<Sent, SendRefusal> {
        let broker = self.broker;
        let delay = &broker.delay;
        let waiting = delay.park_timer(now, text, message.topic, queue_id, timer);
        let parked = NewMessage {
            queue: &waiting.queue,
            topic: names::TIMER_TOPIC,
            properties: waiting.properties.as_bytes(),
            ..*message
        };
        let Some(topic) = broker.topics.get(names::TIMER_TOPIC) else {
            return Err(SendRefusal::NoDelayTopic);
        };
        let (mut sent, size) = self.store(&parked, 0)?;
        // Those of retries are not given out, as by the original.
        if names::group_of_retry_topic(message.topic).is_none() {
            let handle = RecallHandle {
                topic: message.topic.to_owned(),
                broker_name: broker.config.broker_name.clone(),
                time_ms: timer.out_ms() + 1,
                unique_key: message.unique_key.to_owned(),
            };
            sent.recall_handle = Some(handle.encode().into());
        }
        let mut put = Put::to(topic);
        put.appended(queue_id, 1, size);
        self.elsewhere.push(put);
        broker.stats.timers_begun.fetch_add(1, Ordering::Relaxed);
        Ok(sent)
    }

    /// Puts the message among the half messages.
    fn append_half(
        &mut self,
        message: &NewMessage<'_>,
        text: &str,
        queue_id: i32,
    ) -> Result<Sent, SendRefusal> {
        let (broker, transactions) = (self.broker, &self.broker.transactions);
        if broker.config.reject_transaction_message {
            return Err(SendRefusal::HalfForbidden(broker.identity.addr.clone()));
        }
        let (open, _) = transactions.table.counts();
        if open >= transactions.rules.open_max {
            return Err(SendRefusal::TooManyHalf(open));
        }
        let name = names::TRANS_HALF_TOPIC;
        let topic = broker.topics.get(name);
        let topic = topic.ok_or_else(|| TopicWithoutQueue(name.to_owned()))?;
        if broker.store.positions().appended == 0 {
            // What ends it names its position, and 0 names nothing.
            broker.store.settings()?.put(&[table::remove(0)])?;
        }
        let group = self.incoming.group;
        let properties = half::properties_of(text, message.topic, queue_id, group);
        let waiting = NewMessage {
            queue: &transactions.queue,
            topic: name,
            properties: properties.as_bytes(),
            ..*message
        };
        let (sent, size) = self.store(&waiting, queue_id)?;
        let mut put = Put::to(topic);
        put.appended(0, 1, size);
        self.elsewhere.push(put);
        Ok(sent)
    }

    /// Appends; the bytes of the record beside what was sent.
    fn store(&self, message: &NewMessage<'_>, queue_id: i32) -> Result<(Sent, u64), SendRefusal> {
        let appended = self
            .broker
            .store
            .master()?
            .append_at(message, self.now_ms)?;
        let sent = Sent {
            end: appended.end,
            queue_id,
            queue_offset: appended.queue_offset.0,
            positions: smallvec::smallvec![appended.position.0],
            unique_key: UniqueKey::of(message.unique_key),
            recall_handle: None,
        };
        Ok((sent, appended.size.into()))
    }

    /// The light queues that a message names, for who may send to them.
    fn light_queues(&self, value: &str) -> Result<FurtherQueues, SendRefusal> {
        let named = light::names_of(value).map_err(PropertyRefusal::from)?;
        self.origin.may_send_to(self.broker, &named)?;
        let queues = self.broker.light.of_sent(value);
        Ok(queues.map_err(PropertyRefusal::from)?)
    }

    /// Members keep the properties that the client gave them (rocketmq 5.5.0 adds none). The bytes of their records beside what was sent.
    fn append_many<'m>(
        &self,
        topic: &Topic,
        queue_id: i32,
        unique_key: &str,
        members: impl Iterator<Item = Result<BatchEntry<'m>, RecordError>>,
    ) -> Result<(Sent, u64), SendRefusal> {
        let (broker, incoming) = (self.broker, self.incoming);
        if topic.retry_group().is_some() {
            return Err(SendRefusal::BatchOfRetries);
        }
        let queue = self.queue(topic, queue_id)?;
        let mut owned: Vec<Option<String>> = Vec::new();
        let mut further: Vec<FurtherQueues> = Vec::new();
        let mut entries = Vec::new();
        for entry in members {
            let entry = entry.map_err(|error| SendRefusal::BatchDamaged {
                index: entries.len(),
                error,
            })?;
            let found = incoming::check_member(entry.properties)?;
            check_type(broker, topic, &found)?;
            let text = entry.properties;
            if topic.is_compacted {
                check_key(topic, properties::get(text, property::KEYS))?;
            }
            let named = match found.further {
                Some(names) => self.light_queues(&text[names])?,
                None => FurtherQueues::new(),
            };
            incoming::check_room(broker, topic.name(), entry.body, text, named.len())?;
            further.push(named);
            let ends = text.is_empty() || text.ends_with('\u{2}');
            let changed = match found.is_stray {
                true => Some(copy::with(text, &[])),
                false => (!ends).then(|| [text, "\u{2}"].concat()),
            };
            owned.push(match topic.is_compacted {
                true => Some(rmq_store::compacted(changed.as_deref().unwrap_or(text))),
                false => changed,
            });
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(SendRefusal::BatchEmpty);
        }
        let messages: Vec<NewMessage<'_>> = entries
            .iter()
            .zip(&owned)
            .zip(&further)
            .map(|((entry, owned), further)| {
                let text = owned.as_deref().unwrap_or(entry.properties);
                NewMessage {
                    queue,
                    topic: topic.name(),
                    flag: entry.flag,
                    sys_flag: half::without_transaction(incoming.sys_flag),
                    born_ms: incoming.born_ms,
                    born_host: incoming.born_host,
                    reconsume_times: incoming.reconsume_times,
                    prepared_position: 0,
                    body: entry.body,
                    properties: text.as_bytes(),
                    tag_hash: properties::get(text, property::TAGS).map_or(0, tag_hash),
                    keys: properties::get(text, property::KEYS).unwrap_or_default(),
                    unique_key: properties::get(text, property::UNIQ_KEY).unwrap_or_default(),
                    further,
                }
            })
            .collect();
        let appended: SmallVec<[Appended; 8]> = broker.store.master()?.append_batch(&messages)?;
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return Err(SendRefusal::Defect("the batch was not stored"));
        };
        let sent = Sent {
            end: last.end,
            queue_id,
            queue_offset: first.queue_offset.0,
            positions: appended.iter().map(|one| one.position.0).collect(),
            unique_key: UniqueKey::of(unique_key),
            recall_handle: None,
        };
        Ok((sent, last.end.0 - first.position.0))
    }
}
