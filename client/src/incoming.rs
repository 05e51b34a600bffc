//! What servers ask of their clients over the clients' own connections.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::bodies::{ConsumerRunningInfo, ConsumerStatusBody, QueueMap, ResetOffsetBody};
use rmq_protocol::message::property;
use rmq_protocol::requests::{
    CheckTransactionState, GetConsumerRunningInfo, GetConsumerStatusFromClient,
    NotifyConsumerIdsChanged, PushReplyMessageToClient, Request, ResetConsumerClientOffset,
};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{Exchange, IncomingRequests, RefuseIncoming, Reply};
use tokio::sync::watch;

use crate::error::Error;
use crate::producer::Requests;
use crate::received::ReceivedMessage;

/// Tells members of groups that others came or went, and lets brokers ask and steer the consumers of this client.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    groups: Mutex<HashMap<String, watch::Sender<u64>>>,
    consumers: Mutex<HashMap<String, Weak<dyn Steered>>>,
    /// Producers that say how transactions ended, by group.
    checks: Mutex<HashMap<String, Arc<dyn Checked>>>,
    /// Requests that wait for replies.
    pub(crate) requests: Requests,
}

/// A producer that says how transactions of its group ended.
pub(crate) trait Checked: Send + Sync + std::fmt::Debug {
    /// A broker asks. Called in place: it must not block.
    fn check(&self, half: HalfMessage);
}

/// A half message that a broker asks about.
#[derive(Debug)]
pub(crate) struct HalfMessage {
    pub(crate) message: ReceivedMessage,
    /// Its place among the half messages.
    pub(crate) queue_offset: i64,
    /// Its place in the broker's log.
    pub(crate) position: i64,
}

/// A consumer, as brokers see it.
pub(crate) trait Steered: Send + Sync + std::fmt::Debug {
    /// Goes on at these offsets.
    fn reset(&self, offsets: &QueueMap<i64>);
    /// How far it has come in the queues of a topic.
    fn positions(&self, topic: &str) -> QueueMap<i64>;
    /// All about it.
    fn running_info(&self) -> ConsumerRunningInfo;
}

impl Notices {
    /// Counts the notices for `group` from now on.
    pub(crate) fn watch(&self, group: &str) -> watch::Receiver<u64> {
        let mut groups = self.groups.lock();
        groups
            .entry(group.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    pub(crate) fn forget(&self, group: &str) {
        self.groups.lock().remove(group);
    }

    /// Lets brokers reach the consumer of `group` for as long as it lives.
    pub(crate) fn serve<S: Steered + 'static>(
        &self,
        group: &str,
        consumer: &Arc<S>,
    ) -> Result<(), Error> {
        let mut consumers = self.consumers.lock();
        if consumers
            .get(group)
            .is_some_and(|other| other.strong_count() > 0)
        {
            return Err(Error::invalid(format!(
                "this client has a consumer of group \"{group}\" already"
            ))
            .advice("a client is one member of a group: connect a second client, or use the first consumer's concurrency"));
        }
        let weak = Arc::downgrade(consumer);
        consumers.insert(group.to_owned(), weak);
        Ok(())
    }

    /// The consumer has ended; one that came after it stays.
    pub(crate) fn forget_consumer<S: Steered + 'static>(&self, group: &str, consumer: &Arc<S>) {
        let mut consumers = self.consumers.lock();
        let is_it =
            |known: &Weak<dyn Steered>| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(consumer));
        if consumers.get(group).is_some_and(is_it) {
            consumers.remove(group);
        }
    }

    /// From now on the producer answers for its group. One that came before in this client answers no more.
    pub(crate) fn answer_checks(&self, group: &str, producer: Arc<dyn Checked>) {
        self.checks.lock().insert(group.to_owned(), producer);
    }

    fn consumer(&self, group: &str) -> Result<Arc<dyn Steered>, String> {
        let found = self.consumers.lock().get(group).and_then(Weak::upgrade);
        found.ok_or_else(|| format!("this client has no consumer of group \"{group}\""))
    }

    fn changed(&self, group: &str) {
        if let Some(sender) = self.groups.lock().get(group) {
            sender.send_modify(|count| *count += 1);
        }
    }
}

/// Handles the requests that this client understands and refuses the others.
#[derive(Debug)]
pub(crate) struct Incoming(pub(crate) Arc<Notices>);

impl IncomingRequests for Incoming {
    fn request(&self, exchange: &mut Exchange<'_>) {
        let answered = match RequestCode::from_i32(exchange.header.code) {
            Some(RequestCode::NotifyConsumerIdsChanged) => self.members_changed(exchange),
            Some(RequestCode::ResetConsumerClientOffset) => self.reset(exchange),
            Some(RequestCode::GetConsumerStatusFromClient) => self.status(exchange),
            Some(RequestCode::GetConsumerRunningInfo) => self.running_info(exchange),
            Some(RequestCode::CheckTransactionState) => self.check_transaction(exchange),
            Some(RequestCode::PushReplyMessageToClient) => self.replied(exchange),
            _ => return RefuseIncoming.request(exchange),
        };
        if let Err(why) = answered {
            exchange.fail(ResponseCode::SystemError, why);
        }
    }
}

impl Incoming {
    fn members_changed(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let notice = NotifyConsumerIdsChanged::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        self.0.changed(&notice.consumer_group);
        exchange.ok(&());
        Ok(())
    }

    fn check_transaction(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let request = CheckTransactionState::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        let bytes = Bytes::copy_from_slice(exchange.body);
        let broker = request.broker_name.as_deref().unwrap_or_default();
        let messages =
            ReceivedMessage::parse_all(&bytes, broker).map_err(|error| error.to_string())?;
        let message = messages.into_iter().next().ok_or("there is no message")?;
        let group = message.property(property::PGROUP).unwrap_or_default();
        let producer = self.0.checks.lock().get(group).cloned();
        match producer {
            Some(producer) => producer.check(HalfMessage {
                message,
                queue_offset: request.tran_state_table_offset,
                position: request.commit_log_offset,
            }),
            None => tracing::warn!(
                group,
                message_id = message.message_id(),
                "a broker asks how a transaction ended, and no producer of this client can say so; build one with transaction_check"
            ),
        }
        exchange.ok(&());
        Ok(())
    }

    fn replied(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let request = PushReplyMessageToClient::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        let body = Bytes::copy_from_slice(exchange.body);
        let reply = ReceivedMessage::pushed(&request, body).map_err(|error| error.to_string())?;
        let correlation = reply.property(property::CORRELATION_ID);
        let correlation = correlation
            .ok_or("the reply has no CORRELATION_ID")?
            .to_owned();
        self.0.requests.replied(&correlation, reply);
        exchange.ok(&());
        Ok(())
    }

    fn reset(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let request = ResetConsumerClientOffset::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        let body = ResetOffsetBody::from_json(exchange.body).map_err(|error| error.to_string())?;
        self.0.consumer(&request.group)?.reset(&body.offset_table);
        exchange.ok(&());
        Ok(())
    }

    fn status(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let request = GetConsumerStatusFromClient::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        let body = ConsumerStatusBody {
            message_queue_table: self.0.consumer(&request.group)?.positions(&request.topic),
            ..ConsumerStatusBody::default()
        };
        exchange.reply(ResponseCode::Success, None, &(), &body.to_json());
        Ok(())
    }

    fn running_info(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        let request = GetConsumerRunningInfo::decode(&exchange.header.fields)
            .map_err(|error| error.to_string())?;
        let info = self.0.consumer(&request.consumer_group)?.running_info();
        exchange.reply(ResponseCode::Success, None, &(), &info.to_json());
        Ok(())
    }
}
