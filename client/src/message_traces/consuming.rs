//! What consumers say of a message: that they began with it, and how it ended.

use rmq_protocol::message::property;
use tokio::time::Instant;

use super::Traces;
use super::record::{Ended, SubAfter, SubBefore};
use crate::client::Client;
use crate::received::ReceivedMessage;

/// A message that a consumer has begun with, and said so.
#[derive(Debug)]
pub(crate) struct Consuming {
    /// What the two records of one delivery have in common.
    request: String,
    began: Instant,
}

impl Traces {
    /// A consumer of `group` begins with a message that was consumed `retries` times before. `None`: traces say nothing of it.
    pub(crate) fn received(
        &self,
        client: &Client,
        group: &str,
        message: &ReceivedMessage,
        retries: u32,
    ) -> Option<Consuming> {
        let origin = message.property(property::RETRY_TOPIC);
        let is_off = message.property(property::TRACE_ON) == Some("false");
        if is_off || self.is_trace(origin.unwrap_or_else(|| message.topic())) {
            return None;
        }
        let at_ms = client.now_ms();
        let consuming = Consuming {
            request: client.unique_id(at_ms),
            began: Instant::now(),
        };
        let before = SubBefore {
            at_ms,
            region: message.property(property::MSG_REGION),
            group,
            request: &consuming.request,
            id: &message.message_id(),
            retries,
            keys: message.property(property::KEYS),
        };
        self.write(before.record());
        Some(consuming)
    }

    /// The consumer has ended with it.
    pub(crate) fn consumed(
        &self,
        client: &Client,
        group: &str,
        message: &ReceivedMessage,
        consuming: &Consuming,
        ended: Ended,
    ) {
        let after = SubAfter {
            request: &consuming.request,
            id: &message.message_id(),
            took_ms: consuming.began.elapsed().as_millis(),
            ended,
            keys: message.property(property::KEYS),
            at_ms: client.now_ms(),
            group,
        };
        self.write(after.record());
    }
}
