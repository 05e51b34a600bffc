//! Replies to requests (324, 325): pushed to the client that waits, by its connection (326), and stored where that is configured (apache/rocketmq
//! `ReplyMessageProcessor`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rmq_access::NotPassed;
use rmq_process::Asker;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{FieldSink, FieldSource, Text};
use rmq_protocol::message::{LogPosition, OffsetMessageId, properties, property};
use rmq_protocol::requests::{PushReplyMessageToClient, SendMessage};
use rmq_transport::{Exchange, Reply};

use super::link;
use super::refusal::{Handled, Refusal};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::messages::copy;
use crate::messages::incoming::Incoming;
use crate::messages::refusal::SendRefusal;
use crate::messages::send::{self, SendBatch, Sent};
use crate::requester::Requester;

/// The client that waits has this long to take the reply (apache/rocketmq `Broker2Client.callClient`).
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A reply as it was sent.
struct Sending {
    group: String,
    topic: String,
    template: String,
    template_queues: i32,
    queue_id: i32,
    flag: i32,
    sys_flag: i32,
    born_ms: i64,
    connection: u64,
    born_host: SocketAddr,
    reconsume_times: i32,
    unit_mode: bool,
    properties: String,
    body: Vec<u8>,
    asker: Asker,
    requester: Option<Requester>,
}

impl Origin for Sending {
    fn asker(&self) -> Asker {
        self.asker.clone()
    }

    fn may_send_to(&self, broker: &Broker, queues: &[&str]) -> Result<(), NotPassed> {
        match &self.requester {
            Some(requester) => requester.may_send_to(broker, queues.iter().copied()),
            None => Ok(()),
        }
    }
}

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let header = exchange.header;
    let code = RequestCode::from_i32(header.code).ok_or(Refusal::UnknownCode(header.code))?;
    let request = SendMessage::decode(code, &header.fields)?;
    send::check_permission(broker).map_err(SendRefusal::Forbidden)?;
    let mut properties = String::new();
    request.properties.append_to(&mut properties);
    let sending = Sending {
        group: request.producer_group.into_owned(),
        topic: request.topic.into_owned(),
        template: request.default_topic.into_owned(),
        template_queues: request.default_topic_queue_nums,
        queue_id: request.queue_id,
        flag: request.flag,
        sys_flag: request.sys_flag,
        born_ms: request.born_timestamp,
        connection: exchange.peer.id(),
        born_host: exchange.peer.remote_addr(),
        reconsume_times: request.reconsume_times,
        unit_mode: request.unit_mode,
        properties,
        body: exchange.body.to_vec(),
        asker: exchange.asker(),
        requester: Requester::of(broker, exchange, exchange.asker())?,
    };
    if broker.topics.get(&sending.topic).is_none() {
        let (topic, template) = (sending.topic, sending.template);
        return Err(SendRefusal::NoTopic { topic, template }.into());
    }
    let (then, reply) = (Arc::clone(broker), exchange.park());
    broker.run_task(async move {
        let pushed = push(&then, &sending).await;
        let stored = match then.config.store_reply_message_enable {
            true => store(&then, &sending).await,
            false => None,
        };
        let fields = Stored {
            broker: &then,
            queue_id: sending.queue_id,
            sent: stored.as_ref(),
        };
        match pushed {
            Ok(()) => reply.reply(ResponseCode::Success, None, &fields, &[]),
            Err(refusal) => {
                tracing::warn!(
                    group = sending.group,
                    peer = %sending.born_host,
                    "a reply does not reach the client that waits for it: {refusal}"
                );
                let remark = refusal.to_string().into();
                reply.reply(ResponseCode::SystemError, Some(remark), &fields, &[]);
            }
        }
    });
    Ok(())
}

/// Why a reply does not reach the client that waits for it.
#[derive(Debug, thiserror::Error)]
enum NotPushed {
    #[error("REPLY_TO_CLIENT is null, can not reply message")]
    NoClient,
    #[error(
        "push reply message to {0} fail, channel of <{0}> not found: the client has ended, or has not told this broker of itself"
    )]
    Gone(String),
    #[error("push reply message to {client} fail: {error}")]
    Call {
        client: String,
        error: rmq_transport::PeerCallError,
    },
    #[error("push reply message to {client} fail: it answers with code {code}")]
    Refused { client: String, code: i32 },
    #[error("push reply message to {0} fail: it is connected by another protocol")]
    OtherProtocol(String),
}

async fn push(broker: &Broker, sending: &Sending) -> Result<(), NotPushed> {
    let text = &sending.properties;
    let client = properties::get(text, property::REPLY_TO_CLIENT);
    let client = client.ok_or(NotPushed::NoClient)?.to_owned();
    let link = broker.sessions.producer(&client);
    let link = link.ok_or_else(|| NotPushed::Gone(client.clone()))?;
    let Some(peer) = link::peer(&*link) else {
        return Err(NotPushed::OtherProtocol(client));
    };
    let now_ms = broker.now_ms();
    let pushed = copy::with(
        text,
        &[
            (property::MSG_REGION, Some(&broker.config.region)),
            (property::TRACE_ON, Some("true")),
            (property::PUSH_REPLY_TIME, Some(&now_ms.to_string())),
        ],
    );
    let fields = PushReplyMessageToClient {
        producer_group: sending.group.as_str().into(),
        topic: sending.topic.as_str().into(),
        default_topic: sending.template.as_str().into(),
        default_topic_queue_nums: sending.template_queues,
        queue_id: sending.queue_id,
        sys_flag: sending.sys_flag,
        born_timestamp: sending.born_ms,
        flag: sending.flag,
        properties: Some(Text::Plain(&pushed)),
        reconsume_times: Some(sending.reconsume_times),
        unit_mode: Some(sending.unit_mode),
        born_host: sending.born_host.to_string().into(),
        store_host: broker.identity.store_host.to_string().into(),
        store_timestamp: now_ms,
    };
    let code = RequestCode::PushReplyMessageToClient.as_i32();
    let asked = peer
        .call(code, &fields, &sending.body, CLIENT_TIMEOUT)
        .await;
    match asked {
        Ok(answer) if answer.code() == ResponseCode::Success.as_i32() => Ok(()),
        Ok(answer) => Err(NotPushed::Refused {
            client,
            code: answer.code(),
        }),
        Err(error) => Err(NotPushed::Call { client, error }),
    }
}

/// Stores the reply; `None`: it is not stored, which only the log says.
async fn store(broker: &Broker, sending: &Sending) -> Option<Sent> {
    let began_us = broker.clock.monotonic_us();
    let mut batch = SendBatch::default();
    batch.properties().push_str(&sending.properties);
    let incoming = Incoming {
        topic: &sending.topic,
        group: &sending.group,
        connection: sending.connection,
        template: &sending.template,
        template_queues: sending.template_queues,
        queue_id: sending.queue_id,
        flag: sending.flag,
        sys_flag: sending.sys_flag,
        born_ms: sending.born_ms,
        born_host: sending.born_host,
        reconsume_times: sending.reconsume_times,
        max_reconsume_times: None,
        body: &sending.body,
    };
    let sent = batch.send(broker, sending, &incoming);
    let sent = sent.inspect_err(|error| tracing::warn!("a reply is not stored: {error}"));
    let sent = sent.ok()?;
    let settled = tokio::select! {
        biased;
        settled = broker.store.settled(sent.end) => settled,
        () = broker.member.acks.late(&*broker.clock) => Err(broker.member.why_late(sent.end)),
    };
    if let Err(error) = settled {
        tracing::warn!("a reply is not stored: {error}");
        return None;
    }
    let took_ms = (broker.clock.monotonic_us() - began_us) / 1_000;
    for put in batch.take_puts() {
        put.count(&broker.stats, took_ms);
    }
    Some(sent)
}

/// Fields of the answer. A reply that is not stored has the id `0`, which clients can read.
struct Stored<'a> {
    broker: &'a Broker,
    queue_id: i32,
    sent: Option<&'a Sent>,
}

impl FieldSource for Stored<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        let mut id = Vec::new();
        let position = self.sent.and_then(|sent| sent.positions.first());
        match position {
            Some(position) => OffsetMessageId {
                host: self.broker.identity.store_host,
                position: LogPosition(*position),
            }
            .append_to(&mut id),
            None => id.push(b'0'),
        }
        sink.plain("msgId", &id);
        let queue_id = self.sent.map_or(self.queue_id, |sent| sent.queue_id);
        sink.int("queueId", queue_id.into());
        sink.int("queueOffset", self.sent.map_or(0, |sent| sent.queue_offset));
        sink.bool("TRACE_ON", true);
        sink.str("MSG_REGION", &self.broker.config.region);
    }
}
