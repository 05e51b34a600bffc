//! Finding single messages.

use std::ops::{Bound, RangeBounds};
use std::time::SystemTime;

use rmq_protocol::ResponseCode;
use rmq_protocol::requests::{INDEX_KEY, INDEX_TAG, INDEX_UNIQUE, QueryMessage, Request};

use super::Admin;
use crate::clock::unix_ms;
use crate::error::Error;
use crate::received::ReceivedMessage;

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
        let (from_ms, to_ms) = milliseconds(&stored);
        let found = self
            .query(topic, key, max, from_ms, to_ms, INDEX_KEY)
            .await?;
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
        let found = self.query(topic, id, 32, 0, i64::MAX, INDEX_UNIQUE).await?;
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
        let (from_ms, to_ms) = milliseconds(&stored);
        let found = self
            .query(topic, tag, max, from_ms, to_ms, INDEX_TAG)
            .await?;
        // Older brokers take it for a key.
        Ok(found
            .into_iter()
            .filter(|message| message.tag() == Some(tag))
            .collect())
    }

    /// `kind`: [`INDEX_KEY`], [`INDEX_UNIQUE`] or [`INDEX_TAG`].
    async fn query(
        &self,
        topic: &str,
        key: &str,
        max: u16,
        from_ms: i64,
        to_ms: i64,
        kind: &'static str,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let route = self.client.refresh_route(topic).await?;
        let mut found = Vec::new();
        for data in &route.raw().broker_datas {
            let Some(addr) = route.reader(&data.broker_name) else {
                continue;
            };
            let request = QueryMessage {
                topic: topic.into(),
                key: key.into(),
                max_num: i32::from(max),
                begin_timestamp: from_ms,
                end_timestamp: to_ms,
                index_type: Some(kind.into()),
                last_key: None,
                unique_key_query: Some(kind == INDEX_UNIQUE),
            };
            let answer = self
                .client
                .remote(addr)
                .call_any(QueryMessage::CODE.as_i32(), &request, b"")
                .await?;
            if answer.code() == ResponseCode::QueryNotFound.as_i32() {
                continue;
            }
            let answer = answer.success()?;
            found.extend(ReceivedMessage::parse_all(
                answer.body(),
                &data.broker_name,
            )?);
        }
        found.sort_by_key(ReceivedMessage::stored_at);
        Ok(found)
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
