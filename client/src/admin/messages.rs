//! Finding single messages.

use std::ops::{Bound, RangeBounds};
use std::time::SystemTime;

use rmq_protocol::ResponseCode;
use rmq_protocol::requests::{INDEX_KEY, INDEX_TAG, INDEX_UNIQUE, QueryMessage, Request};

use super::Admin;
use crate::clock::unix_ms;
use crate::error::Error;
use crate::received::ReceivedMessage;
use crate::remote::Remote;

impl Admin {
    /// Messages of a topic with a business key that were stored in a time, at most `max` of each broker; `..` is any time.
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        max: u16,
        stored: impl RangeBounds<SystemTime>,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let query = Query::key(topic, key, max).within(milliseconds(&stored));
        let found = self.query(&query).await?;
        // The index knows the key's hash only.
        Ok(found
            .into_iter()
            .filter(|message| message.keys().any(|known| known == key))
            .collect())
    }

    /// Messages of a topic with the id that their producer gave them; several when it was sent again.
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn messages_by_unique_id(
        &self,
        topic: &str,
        id: &str,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let found = self.query(&Query::unique(topic, id, 32)).await?;
        Ok(found
            .into_iter()
            .filter(|message| message.message_id() == id)
            .collect())
    }

    /// Messages of a topic with a tag that were stored in a time, the newest, at most `max` of each broker; `..` is any time. Brokers look
    /// from the newest message on, and not without end ([limits](https://github.com/rmq-rs/rmq/blob/main/docs/reference/limits.md)). Brokers of
    /// Apache RocketMQ find tags from 5.4 on.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// for order in client.admin().messages_by_tag("orders", "paid", 10, ..).await? {
    ///     println!("{}", order.message_id());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn messages_by_tag(
        &self,
        topic: &str,
        tag: &str,
        max: u16,
        stored: impl RangeBounds<SystemTime>,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let query = Query {
            kind: INDEX_TAG,
            ..Query::key(topic, tag, max).within(milliseconds(&stored))
        };
        let found = self.query(&query).await?;
        // Older brokers take it for a key.
        Ok(found
            .into_iter()
            .filter(|message| message.tag() == Some(tag))
            .collect())
    }

    /// Of each broker of the topic.
    pub(super) async fn query(&self, query: &Query<'_>) -> Result<Vec<ReceivedMessage>, Error> {
        let route = self.client.refresh_route(query.topic).await?;
        let mut found = Vec::new();
        for data in &route.raw().broker_datas {
            let Some(addr) = route.reader(&data.broker_name) else {
                continue;
            };
            let remote = self.client.remote(addr);
            found.extend(self.query_at(&remote, &data.broker_name, query).await?);
        }
        found.sort_by_key(ReceivedMessage::stored_at);
        Ok(found)
    }

    /// Of one member of a broker group; it need not have the topic.
    pub(super) async fn query_at(
        &self,
        remote: &Remote,
        broker: &str,
        query: &Query<'_>,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let request = QueryMessage {
            topic: query.topic.into(),
            key: query.key.into(),
            max_num: i32::from(query.max),
            begin_timestamp: query.from_ms,
            end_timestamp: query.to_ms,
            index_type: Some(query.kind.into()),
            last_key: None,
            unique_key_query: Some(query.kind == INDEX_UNIQUE),
        };
        let answer = remote
            .call_any(QueryMessage::CODE.as_i32(), &request, b"")
            .await?;
        if answer.code() == ResponseCode::QueryNotFound.as_i32() {
            return Ok(Vec::new());
        }
        let answer = answer.success()?;
        ReceivedMessage::parse_all(answer.body(), broker)
    }
}

/// Which messages are looked up.
pub(super) struct Query<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a str,
    /// Of each broker, at most.
    pub(super) max: u16,
    /// Stored from this time on, Unix milliseconds.
    pub(super) from_ms: i64,
    /// Stored until this time, Unix milliseconds.
    pub(super) to_ms: i64,
    /// [`INDEX_KEY`], [`INDEX_UNIQUE`] or [`INDEX_TAG`].
    pub(super) kind: &'static str,
}

impl<'a> Query<'a> {
    /// By the id that its producer gave a message, of any time.
    pub(super) fn unique(topic: &'a str, id: &'a str, max: u16) -> Self {
        Self {
            topic,
            key: id,
            max,
            from_ms: 0,
            to_ms: i64::MAX,
            kind: INDEX_UNIQUE,
        }
    }

    /// By business key, of any time.
    pub(super) fn key(topic: &'a str, key: &'a str, max: u16) -> Self {
        Self {
            kind: INDEX_KEY,
            ..Self::unique(topic, key, max)
        }
    }

    fn within(self, (from_ms, to_ms): (i64, i64)) -> Self {
        Self {
            from_ms,
            to_ms,
            ..self
        }
    }
}

/// The first and the last millisecond of a time.
fn milliseconds(time: &impl RangeBounds<SystemTime>) -> (i64, i64) {
    let first = match time.start_bound() {
        Bound::Included(at) => unix_ms(*at),
        Bound::Excluded(at) => unix_ms(*at) + 1,
        Bound::Unbounded => 0,
    };
    let last = match time.end_bound() {
        Bound::Included(at) => unix_ms(*at),
        Bound::Excluded(at) => unix_ms(*at) - 1,
        Bound::Unbounded => i64::MAX,
    };
    (first, last)
}
