//! What servers ask of their clients over the clients' own connections.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rmq_protocol::bodies::{ConsumerRunningInfo, ConsumerStatusBody, QueueMap, ResetOffsetBody};
use rmq_protocol::requests::{
    GetConsumerRunningInfo, GetConsumerStatusFromClient, NotifyConsumerIdsChanged, Request,
    ResetConsumerClientOffset,
};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{Exchange, IncomingRequests, RefuseIncoming, Reply};
use tokio::sync::watch;

use crate::error::Error;

/// Tells members of groups that others came or went, and lets brokers ask and steer the consumers of this client.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    groups: Mutex<HashMap<String, watch::Sender<u64>>>,
    consumers: Mutex<HashMap<String, Weak<dyn Steered>>>,
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
