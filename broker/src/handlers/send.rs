//! Sending: 10, 310 (single) and 320 (batch). The message is appended at once; it is written, and the answer given, at the end of the
//! batch. Order of the checks: apache/rocketmq `AbstractSendMessageProcessor.msgCheck`, `SendMessageProcessor.sendMessage`.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::message::{self, LogPosition, OffsetMessageId, properties, property, tag_hash};
use rmq_protocol::names;
use rmq_protocol::requests::SendMessage;
use rmq_protocol::route::perm;
use rmq_store::{AppendError, Appended, FlushMode, NewMessage, QueueRef};
use rmq_transport::{Exchange, Replies, Ticket};
use smallvec::SmallVec;

use super::put::Put;
use super::{Batch, properties as sent, refuse_fields};
use crate::audit;
use crate::broker::Broker;
use crate::groups::Group;
use crate::limits;
use crate::reply;
use crate::topics::Topic;

/// A send that is appended and not answered yet.
#[derive(Debug)]
pub(crate) struct SendTicket {
    ticket: Ticket,
    end: LogPosition,
    queue_id: i32,
    queue_offset: i64,
    positions: SmallVec<[u64; 1]>,
    unique_key: SmallVec<[u8; 40]>,
}

pub(crate) type Refusal = (ResponseCode, Cow<'static, str>);

pub(crate) fn handle(
    broker: &Broker,
    batch: &mut Batch,
    exchange: &mut Exchange<'_>,
    code: RequestCode,
) {
    let header = exchange.header;
    let send = match SendMessage::decode(code, &header.fields) {
        Ok(send) => send,
        Err(error) => return refuse_fields(exchange, &error),
    };
    let now_ms = *batch.now_ms.get_or_insert_with(|| broker.now_ms());
    let appended = recent_topic(broker, &mut batch.recent, &mut batch.puts, exchange, &send)
        .and_then(|recent| {
            let mut arriving = Arriving {
                broker,
                exchange,
                now_ms,
                elsewhere: &mut batch.puts,
            };
            append(&mut arriving, &send, recent, &mut batch.properties)
        });
    match appended {
        Ok(sent) => batch.sends.push(sent),
        Err((code, remark)) => {
            broker.stats.put_failed();
            exchange.fail(code, remark);
        }
    }
}

/// A send, where it arrives and when.
struct Arriving<'a, 'e> {
    broker: &'a Broker,
    exchange: &'a mut Exchange<'e>,
    now_ms: i64,
    /// For messages that go to another topic than the one they were sent to.
    elsewhere: &'a mut SmallVec<[Put; 1]>,
}

/// The topic of this send. Most sends of a batch go to one topic, which is then looked up once: as the whole batch had been received
/// before that, no send of it came after a change that this look did not see.
fn recent_topic<'a>(
    broker: &Broker,
    recent: &'a mut Option<Put>,
    puts: &mut SmallVec<[Put; 1]>,
    exchange: &Exchange<'_>,
    send: &SendMessage<'_>,
) -> Result<&'a mut Put, Refusal> {
    if broker.is_stopping() {
        return Err((
            ResponseCode::ServiceNotAvailable,
            "the broker is stopping; send to another one".into(),
        ));
    }
    let is_same = |put: &Put| put.topic.name() == send.topic;
    if !recent.as_ref().is_some_and(is_same) {
        let topic = topic_for(broker, exchange, send)?;
        puts.extend(recent.take());
        *recent = Some(Put::to(topic));
    }
    recent.as_mut().ok_or_else(|| {
        let remark = "the topic of this send was not kept; this is a defect of the broker";
        (ResponseCode::SystemError, remark.into())
    })
}

fn append(
    arriving: &mut Arriving<'_, '_>,
    send: &SendMessage<'_>,
    recent: &mut Put,
    scratch: &mut String,
) -> Result<SendTicket, Refusal> {
    let broker = arriving.broker;
    let exchange = &*arriving.exchange;
    let topic = Arc::as_ref(&recent.topic);
    if !perm::is_writable(broker.permission()) {
        return Err((
            ResponseCode::NoPermission,
            broker.sending_forbidden().into(),
        ));
    }
    if exchange.body.len() > limits::BODY_BYTES_MAX {
        return Err((
            ResponseCode::MessageIllegal,
            format!(
                "the body has {} bytes; beyond {} no frame has room for it and its properties, and nobody could pull it",
                exchange.body.len(),
                limits::BODY_BYTES_MAX
            )
            .into(),
        ));
    }
    let queues = topic
        .config
        .write_queue_nums
        .max(topic.config.read_queue_nums);
    let queue_id = if send.queue_id < 0 {
        broker.random_queue(topic.config.write_queue_nums)
    } else {
        send.queue_id
    };
    let Some(queue) = topic.queue(queue_id) else {
        return Err((
            ResponseCode::InvalidParameter,
            format!("request queueId[{queue_id}] is illegal, topic {} has {queues} queues (0 to {}). Producer: {}", topic.name(), queues - 1, exchange.peer.remote_addr()).into(),
        ));
    };

    scratch.clear();
    send.properties.append_to(scratch);
    if send.batch {
        let (sent, messages, bytes) = append_batch(arriving, send, topic, queue, scratch)?;
        recent.appended(queue_id, messages, bytes);
        return Ok(sent);
    }
    let is_retry = topic.retry_group().is_some();
    let found = sent::complete(broker, scratch, is_retry)?;
    let text = scratch.as_str();
    // Room for a retry was left when the message was sent first.
    if !is_retry {
        sent::check_room(broker, topic.name(), exchange.body, text)?;
    }
    if send.reconsume_times < 0 {
        return Err((
            ResponseCode::MessageIllegal,
            format!("field reconsumeTimes is negative: {}", send.reconsume_times).into(),
        ));
    }
    let mut new = NewMessage {
        queue,
        topic: topic.name(),
        flag: send.flag,
        sys_flag: send.sys_flag,
        born_ms: send.born_timestamp,
        born_host: exchange.peer.remote_addr(),
        reconsume_times: send.reconsume_times,
        prepared_position: 0,
        body: exchange.body,
        properties: text.as_bytes(),
        tag_hash: found.tags.clone().map_or(0, |range| tag_hash(&text[range])),
        keys: found.keys.clone().map_or("", |range| &text[range]),
        unique_key: &text[found.unique_key.clone()],
    };
    // The rare ways of a message: dead letters and delays, which change topic, queue and properties.
    let dead_letter_topic;
    let dead_letter_properties;
    if let Some(group) = topic.retry_group()
        && let Some(to) = dead_letter(broker, exchange, send, group)?
    {
        dead_letter_topic = to;
        dead_letter_properties = crate::copy::with(text, &[(property::DELAY, Some("-1"))]);
        new.topic = dead_letter_topic.name();
        new.properties = dead_letter_properties.as_bytes();
        let Some(queue) = dead_letter_topic.queue(0) else {
            return Err((
                ResponseCode::SystemError,
                format!("topic {} has no queue", dead_letter_topic.name()).into(),
            ));
        };
        new.queue = queue;
        let (sent, size) = finish(arriving, &new, 0)?;
        let mut put = Put::to(Arc::clone(&dead_letter_topic));
        put.appended(0, 1, size);
        arriving.elsewhere.push(put);
        return Ok(sent);
    }
    if found.delay_level > 0 {
        return append_delayed(arriving, &new, queue_id, found.delay_level);
    }
    let (sent, size) = finish(arriving, &new, queue_id)?;
    recent.appended(queue_id, 1, size);
    Ok(sent)
}

/// Parks the message under its delay level.
fn append_delayed(
    arriving: &mut Arriving<'_, '_>,
    new: &NewMessage<'_>,
    queue_id: i32,
    level: i32,
) -> Result<SendTicket, Refusal> {
    let broker = arriving.broker;
    let text = std::str::from_utf8(new.properties).unwrap_or_default();
    let delayed = broker.delay.park(
        broker.clock_watch.look_to_store(&broker.store),
        text,
        new.topic,
        queue_id,
        level,
    );
    let parked = NewMessage {
        queue: &delayed.queue,
        topic: names::SCHEDULE_TOPIC,
        properties: delayed.properties.as_bytes(),
        ..*new
    };
    let Some(topic) = broker.topics.get(names::SCHEDULE_TOPIC) else {
        return Err((
            ResponseCode::SystemError,
            "the topic of delayed messages is missing".into(),
        ));
    };
    let (sent, size) = finish(arriving, &parked, delayed.queue.queue_id())?;
    let mut put = Put::to(topic);
    // How long it took is shown by the queue that it was sent to, as upstream does.
    put.appended(queue_id, 1, size);
    arriving.elsewhere.push(put);
    let stats = &broker.stats;
    stats
        .delayed
        .add(stats, delayed.queue.queue_id(), [1, size, 1]);
    Ok(sent)
}

/// Appends; the bytes of the record beside the ticket.
fn finish(
    arriving: &mut Arriving<'_, '_>,
    new: &NewMessage<'_>,
    queue_id: i32,
) -> Result<(SendTicket, u64), Refusal> {
    let broker = arriving.broker;
    let appended = broker
        .store
        .append_at(new, arriving.now_ms)
        .map_err(|error| refuse(&error))?;
    let sent = SendTicket {
        ticket: arriving.exchange.ticket(),
        end: appended.end,
        queue_id,
        queue_offset: appended.queue_offset.0,
        positions: smallvec::smallvec![appended.position.0],
        unique_key: SmallVec::from_slice(new.unique_key.as_bytes()),
    };
    Ok((sent, appended.size.into()))
}

/// A message without a place. Never code 10: clients take that for stored, and want to read where.
fn refuse(error: &AppendError) -> Refusal {
    (
        reply::of_append(error, FlushMode::default()),
        error.to_string().into(),
    )
}

/// The group of a retry topic, made when that is allowed.
fn group_for(broker: &Broker, exchange: &Exchange<'_>, group: &str) -> Result<Arc<Group>, Refusal> {
    audit::group_of(broker, exchange, group).map_err(|error| {
        let remark = format!("subscription group not exist, {group}: {error}");
        (reply::of_group(&error), remark.into())
    })
}

fn topic_for(
    broker: &Broker,
    exchange: &Exchange<'_>,
    send: &SendMessage<'_>,
) -> Result<Arc<Topic>, Refusal> {
    if let Some(topic) = broker.topics.get(&send.topic) {
        if topic.is_send_forbidden() {
            return Err((
                ResponseCode::NoPermission,
                format!("Sending message to topic[{}] is forbidden.", send.topic).into(),
            ));
        }
        return Ok(topic);
    }
    names::validate_topic(&send.topic)
        .map_err(|error| (ResponseCode::InvalidParameter, error.to_string().into()))?;
    if names::is_send_forbidden(&send.topic) || names::is_system_topic(&send.topic) {
        return Err((
            ResponseCode::NoPermission,
            format!("Sending message to topic[{}] is forbidden.", send.topic).into(),
        ));
    }
    let now = broker.now_ms();
    let created = match names::group_of_retry_topic(&send.topic) {
        Some(group) => {
            let settings = group_for(broker, exchange, group)?;
            let queues = settings.config.retry_queue_nums.max(1);
            broker.retry_topic(group, queues).map(Some)
        }
        None => broker.topics.auto_create(
            &send.topic,
            &send.default_topic,
            send.default_topic_queue_nums,
            now,
        ),
    };
    match created {
        Ok(Some(topic)) => {
            if topic.retry_group().is_none() {
                let (what, name) = ("topic created by its first message", topic.name());
                audit::asker(exchange).changed(what, name, None, audit::text(&topic.config));
            }
            Ok(topic)
        }
        Ok(None) => Err((
            ResponseCode::TopicNotExist,
            format!("topic[{}] not exist, apply first please! (auto-creation after {} is not enabled on this broker; create it: mqadmin updateTopic, rmq-ctl create topic)", send.topic, send.default_topic).into(),
        )),
        Err(error) => Err((reply::of_topic(&error), error.to_string().into())),
    }
}

/// The dead-letter topic, when a consumer that sends a retry itself has tried often enough.
fn dead_letter(
    broker: &Broker,
    exchange: &Exchange<'_>,
    send: &SendMessage<'_>,
    group: &str,
) -> Result<Option<Arc<Topic>>, Refusal> {
    let settings = group_for(broker, exchange, group)?;
    let max = send
        .max_reconsume_times
        .unwrap_or(settings.config.retry_max_times);
    // Whoever holds queue locks consumes in order, and sends here only to give a message up.
    let gives_up =
        send.reconsume_times > max || broker.locks.is_any_held(group, broker.connection_now_ms());
    if !gives_up {
        return Ok(None);
    }
    settings
        .counters
        .dead_letters
        .fetch_add(1, Ordering::Relaxed);
    broker
        .dead_letter_topic(group)
        .map(Some)
        .map_err(|error| (reply::of_topic(&error), error.to_string().into()))
}

/// Members keep the properties that the client gave them (rocketmq 5.5.0 adds none). Number and bytes beside the ticket.
fn append_batch(
    arriving: &mut Arriving<'_, '_>,
    send: &SendMessage<'_>,
    topic: &Topic,
    queue: &QueueRef,
    header_properties: &str,
) -> Result<(SendTicket, u64, u64), Refusal> {
    let broker = arriving.broker;
    let exchange = &*arriving.exchange;
    if topic.retry_group().is_some() {
        return Err((
            ResponseCode::MessageIllegal,
            "a batch cannot be sent to a retry topic".into(),
        ));
    }
    let mut owned: Vec<Option<String>> = Vec::new();
    let mut entries = Vec::new();
    for entry in message::batch::iter(exchange.body) {
        let entry = entry.map_err(|error| {
            (
                ResponseCode::MessageIllegal,
                Cow::from(format!(
                    "the batch is damaged at message {}: {error}",
                    entries.len()
                )),
            )
        })?;
        sent::check_member(entry.properties)?;
        sent::check_room(broker, topic.name(), entry.body, entry.properties)?;
        let ends = entry.properties.is_empty() || entry.properties.ends_with('\u{2}');
        owned.push((!ends).then(|| [entry.properties, "\u{2}"].concat()));
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err((
            ResponseCode::MessageIllegal,
            "the batch has no messages".into(),
        ));
    }
    let messages: Vec<NewMessage<'_>> = entries
        .iter()
        .zip(&owned)
        .map(|(entry, owned)| {
            let text = owned.as_deref().unwrap_or(entry.properties);
            NewMessage {
                queue,
                topic: topic.name(),
                flag: entry.flag,
                sys_flag: send.sys_flag,
                born_ms: send.born_timestamp,
                born_host: exchange.peer.remote_addr(),
                reconsume_times: send.reconsume_times,
                prepared_position: 0,
                body: entry.body,
                properties: text.as_bytes(),
                tag_hash: properties::get(text, property::TAGS).map_or(0, tag_hash),
                keys: properties::get(text, property::KEYS).unwrap_or_default(),
                unique_key: properties::get(text, property::UNIQ_KEY).unwrap_or_default(),
            }
        })
        .collect();
    let appended: SmallVec<[Appended; 8]> = broker
        .store
        .append_batch(&messages)
        .map_err(|error| refuse(&error))?;
    let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
        return Err((ResponseCode::SystemError, "the batch was not stored".into()));
    };
    let sent = SendTicket {
        ticket: arriving.exchange.ticket(),
        end: last.end,
        queue_id: queue.queue_id(),
        queue_offset: first.queue_offset.0,
        positions: appended.iter().map(|one| one.position.0).collect(),
        unique_key: SmallVec::from_slice(
            properties::get(header_properties, property::UNIQ_KEY)
                .unwrap_or_default()
                .as_bytes(),
        ),
    };
    let bytes = last.end.0 - first.position.0;
    Ok((sent, appended.len() as u64, bytes))
}

/// Writes what the batch appended and answers its sends.
pub(crate) fn finish_batch(broker: &Arc<Broker>, batch: &mut Batch, replies: &mut Replies<'_>) {
    let mut puts = std::mem::take(&mut batch.puts);
    puts.extend(batch.recent.take());
    puts.retain(|put| put.requests > 0);
    batch.now_ms = None;
    let began_us = batch.began_us.take().unwrap_or_default();
    let answered = std::mem::take(&mut batch.answered);
    broker.requests.answered_in_place(&answered, began_us);
    let Some(end) = batch.sends.iter().map(|send| send.end).max() else {
        if std::mem::take(&mut batch.appended) {
            // Whoever appended it waits for it on its own; this only makes it sooner.
            let _ = broker.store.write_out();
        }
        return;
    };
    batch.appended = false;
    let is_sync = broker.store.flush_mode() == FlushMode::Sync;
    if !is_sync && let Some(written) = broker.store.try_write_out() {
        count(broker, &puts, &batch.sends, began_us, &written);
        answer(broker, &batch.sends, &written, replies);
        batch.sends.clear();
        return;
    }
    let sends = std::mem::take(&mut batch.sends);
    let peer = Arc::clone(replies.peer());
    // Stands for all of them: the connection counts as busy until they are answered.
    let busy = replies.park(sends[0].ticket);
    let broker_then = Arc::clone(broker);
    let done = Box::new(move |stored| {
        count(&broker_then, &puts, &sends, began_us, &stored);
        peer.send_with(|replies| answer(&broker_then, &sends, &stored, replies));
        busy.forget();
    });
    if is_sync {
        broker.store.when_acked(end, done);
    } else {
        broker.store.when_written(done);
    }
}

fn count(
    broker: &Broker,
    puts: &[Put],
    sends: &[SendTicket],
    began_us: i64,
    stored: &Result<(), AppendError>,
) {
    let took_us = broker.clock.monotonic_us() - began_us;
    for put in puts {
        match stored {
            Ok(()) => put.count(&broker.stats, took_us / 1_000),
            Err(_) => broker.stats.put_failed(),
        }
    }
    for run in sends.chunk_by(|a, b| a.ticket.request_code() == b.ticket.request_code()) {
        let requests = run.len() as u64;
        broker
            .requests
            .took(run[0].ticket.request_code(), took_us, requests);
        if let Err(error) = stored {
            let code = reply::of_append(error, broker.store.flush_mode());
            broker.requests.refused(code, requests);
        }
    }
}

fn answer(
    broker: &Broker,
    sends: &[SendTicket],
    stored: &Result<(), AppendError>,
    replies: &mut Replies<'_>,
) {
    let code = match stored {
        Ok(()) => ResponseCode::Success,
        Err(error) => reply::of_append(error, broker.store.flush_mode()),
    };
    let remark = || Some(stored.as_ref().err()?.to_string().into());
    // 10 means stored, but not as safely as configured: clients read from it where, as from 0 (apache/rocketmq
    // `SendMessageProcessor.handlePutMessageResult`).
    if !matches!(code, ResponseCode::Success | ResponseCode::FlushDiskTimeout) {
        for send in sends {
            replies.reply(&send.ticket, code, remark(), &(), &[]);
        }
        return;
    }
    let mut id = Vec::with_capacity(56);
    for send in sends {
        id.clear();
        for (index, position) in send.positions.iter().enumerate() {
            if index > 0 {
                id.push(b',');
            }
            OffsetMessageId {
                host: broker.identity.store_host,
                position: LogPosition(*position),
            }
            .append_to(&mut id);
        }
        let fields = Sent {
            region: &broker.config.region,
            id: &id,
            send,
        };
        replies.reply(&send.ticket, code, remark(), &fields, &[]);
    }
}

/// Fields of the answer, written without a copy.
struct Sent<'a> {
    region: &'a str,
    id: &'a [u8],
    send: &'a SendTicket,
}

impl FieldSource for Sent<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        sink.int("queueId", self.send.queue_id.into());
        if let Ok(key) = std::str::from_utf8(&self.send.unique_key)
            && !key.is_empty()
        {
            sink.str("transactionId", key);
        }
        if let Ok(id) = std::str::from_utf8(self.id) {
            sink.str("msgId", id);
        }
        sink.bool("TRACE_ON", true);
        sink.str("MSG_REGION", self.region);
        sink.int("queueOffset", self.send.queue_offset);
    }
}
