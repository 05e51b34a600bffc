//! Sending: 10, 310 (single) and 320 (batch). A message is appended at once; it is written, and the answer given, at the end of the batch.

use std::sync::Arc;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::message::{LogPosition, OffsetMessageId, batch};
use rmq_protocol::requests::{MAY_BE_STORED, SendMessage};
use rmq_store::AppendError;
use rmq_transport::{Exchange, Replies, Reply};

use super::batch::{Batch, SendTicket};
use super::refusal::Handled;
use crate::broker::Broker;
use crate::messages::incoming::Incoming;
use crate::messages::put::Put;
use crate::messages::send::Sent;
use crate::reply;

pub(crate) fn handle(
    broker: &Arc<Broker>,
    batch: &mut Batch,
    exchange: &mut Exchange<'_>,
    code: RequestCode,
) -> Handled {
    let header = exchange.header;
    let send = SendMessage::decode(code, &header.fields)?;
    send.properties.append_to(batch.puts.properties());
    let incoming = Incoming {
        topic: &send.topic,
        group: &send.producer_group,
        connection: exchange.peer.id(),
        template: &send.default_topic,
        template_queues: send.default_topic_queue_nums,
        queue_id: send.queue_id,
        flag: send.flag,
        sys_flag: send.sys_flag,
        born_ms: send.born_timestamp,
        born_host: exchange.peer.remote_addr(),
        reconsume_times: send.reconsume_times,
        max_reconsume_times: send.max_reconsume_times,
        body: exchange.body,
    };
    let sent = if send.batch {
        let members = batch::iter(exchange.body);
        batch.puts.send_many(broker, exchange, &incoming, members)
    } else {
        batch.puts.send(broker, exchange, &incoming)
    };
    match sent {
        Ok(sent) => {
            let ticket = exchange.ticket();
            batch.sends.push(SendTicket { ticket, sent });
            Ok(())
        }
        Err(refusal) => {
            broker.stats.put_failed();
            Err(refusal.into())
        }
    }
}

/// Writes what the batch appended and answers its sends.
pub(crate) fn finish_batch(broker: &Arc<Broker>, batch: &mut Batch, replies: &mut Replies<'_>) {
    let puts = batch.puts.take_puts();
    let began_us = batch.began_us.take().unwrap_or_default();
    let answered = std::mem::take(&mut batch.answered);
    broker.requests.answered_in_place(&answered, began_us);
    let Some(end) = batch.sends.iter().map(|send| send.sent.end).max() else {
        if std::mem::take(&mut batch.appended) {
            // The handler that appended it waits for it; this only makes it sooner.
            let _ = broker.store.write_out();
        }
        return;
    };
    batch.appended = false;
    if let Some(stored) = broker.store.try_settle(end) {
        let stored = stored.and_then(|()| broker.member.term.check());
        count(broker, &puts, &batch.sends, began_us, &stored);
        let sends = batch.sends.drain(..);
        answer(broker, sends, &stored, &mut batch.id, replies);
        return;
    }
    // The next batch is likely to be as large: its list need not grow step by step.
    let next = Vec::with_capacity(batch.sends.len());
    let sends = std::mem::replace(&mut batch.sends, next);
    let peer = Arc::clone(replies.peer());
    let busy = replies.busy();
    let broker_then = Arc::clone(broker);
    let done = Box::new(move |stored: Result<(), AppendError>| {
        let stored = stored.and_then(|()| broker_then.member.term.check());
        count(&broker_then, &puts, &sends, began_us, &stored);
        peer.send_with(|replies| {
            answer(&broker_then, sends, &stored, &mut Vec::new(), replies);
        });
        drop(busy);
    });
    let (acks, clock) = (&broker.member.acks, &*broker.clock);
    acks.settle(&broker.store, clock, end, done);
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
            let code = reply::of_append(error);
            broker.requests.refused(code, requests);
        }
    }
}

fn answer(
    broker: &Broker,
    sends: impl IntoIterator<Item = SendTicket>,
    stored: &Result<(), AppendError>,
    id: &mut Vec<u8>,
    replies: &mut Replies<'_>,
) {
    let code = match stored {
        Ok(()) => ResponseCode::Success,
        Err(error) => reply::of_append(error),
    };
    let remark = || Some(stored.as_ref().err()?.to_string().into());
    // 10, 11 and 12 mean stored, but not as safely as configured: clients read from it where, as from 0 (apache/rocketmq
    // `SendMessageProcessor.handlePutMessageResult`).
    let is_stored = matches!(
        code,
        ResponseCode::Success
            | ResponseCode::FlushDiskTimeout
            | ResponseCode::FlushSlaveTimeout
            | ResponseCode::SlaveNotAvailable
    );
    if !is_stored {
        for send in sends {
            replies.to(send.ticket).reply(code, remark(), &Perhaps, &[]);
        }
        return;
    }
    for SendTicket { ticket, sent } in sends {
        id.clear();
        for (index, position) in sent.positions.iter().enumerate() {
            if index > 0 {
                id.push(b',');
            }
            OffsetMessageId {
                host: broker.identity.store_host,
                position: LogPosition(*position),
            }
            .append_to(id);
        }
        let fields = SentFields {
            region: &broker.config.region,
            id,
            sent: &sent,
        };
        replies.to(ticket).reply(code, remark(), &fields, &[]);
    }
}

/// Fields of a refusal that comes after the message was appended.
struct Perhaps;

impl FieldSource for Perhaps {
    fn visit(&self, sink: &mut dyn FieldSink) {
        sink.bool(MAY_BE_STORED, true);
    }
}

/// Fields of the answer, written without a copy.
struct SentFields<'a> {
    region: &'a str,
    id: &'a [u8],
    sent: &'a Sent,
}

impl FieldSource for SentFields<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        sink.int("queueId", self.sent.queue_id.into());
        let key = self.sent.unique_key.as_str();
        if !key.is_empty() {
            sink.str("transactionId", key);
        }
        sink.plain("msgId", self.id);
        sink.bool("TRACE_ON", true);
        sink.str("MSG_REGION", self.region);
        sink.int("queueOffset", self.sent.queue_offset);
        if let Some(handle) = &self.sent.recall_handle {
            sink.str("recallHandle", handle);
        }
    }
}
