//! Offsets of groups and bounds of queues.

use std::time::SystemTime;

use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::ResetOffsetBody;
use rmq_protocol::requests::{
    GetMaxOffset, GetMinOffset, InvokeBrokerToResetOffset, OffsetReply, QueryConsumerOffset,
    Request, SearchOffsetByTimestamp, UpdateConsumerOffset,
};

use super::Admin;
use crate::clock::unix_ms;
use crate::error::Error;
use crate::queue::Queue;

impl Admin {
    /// The next offset that a group will consume of a queue; `None` when it has none yet.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn committed_offset(&self, group: &str, queue: &Queue) -> Result<Option<i64>, Error> {
        self.query_offset(group, queue, false).await
    }

    /// Where a group without an offset begins in a young queue; `None` when the broker leaves that to the client.
    pub(crate) async fn young_offset(
        &self,
        group: &str,
        queue: &Queue,
    ) -> Result<Option<i64>, Error> {
        self.query_offset(group, queue, true).await
    }

    async fn query_offset(
        &self,
        group: &str,
        queue: &Queue,
        young_counts: bool,
    ) -> Result<Option<i64>, Error> {
        let request = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: queue.topic().into(),
            queue_id: queue.id(),
            // Clients of consumers leave the field out; `false` asks for committed offsets alone.
            set_zero_if_not_found: (!young_counts).then_some(false),
            broker_name: Some(queue.broker().into()),
        };
        let remote = self.client.reader_of(queue).await?;
        let answer = remote
            .call_any(QueryConsumerOffset::CODE.as_i32(), &request, b"")
            .await?;
        if answer.code() == ResponseCode::QueryNotFound.as_i32() {
            let route = self.client.route(queue.topic()).await?;
            // A replica may not know what the master knows, and a group that begins anew passes messages over.
            return match route.master(queue.broker()) {
                Some(_) => Ok(None),
                None => Err(self
                    .client
                    .without_master(queue.topic(), queue.broker())
                    .of_replica()),
            };
        }
        Ok(Some(answer.success()?.fields::<OffsetReply>()?.offset))
    }

    /// Sets the next offset that a group will consume of a queue.
    ///
    /// # Errors
    /// When the broker does not answer or refuses, for example an unknown group.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &Queue,
        offset: i64,
    ) -> Result<(), Error> {
        let request = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: queue.topic().into(),
            queue_id: queue.id(),
            commit_offset: offset,
            broker_name: Some(queue.broker().into()),
        };
        let committed = self
            .client
            .reader_of(queue)
            .await?
            .call(&request, b"")
            .await;
        committed.map(drop).map_err(|error| {
            error.doing(&format!(
                "committing {offset} of {queue} for group \"{group}\""
            ))
        })
    }

    /// The offset after a queue's newest message.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn max_offset(&self, queue: &Queue) -> Result<i64, Error> {
        let request = GetMaxOffset {
            topic: queue.topic().into(),
            queue_id: queue.id(),
            committed: Some(true),
            broker_name: Some(queue.broker().into()),
        };
        Ok(self
            .client
            .reader_of(queue)
            .await?
            .call(&request, b"")
            .await?
            .fields::<OffsetReply>()?
            .offset)
    }

    /// The offset of a queue's oldest message.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn min_offset(&self, queue: &Queue) -> Result<i64, Error> {
        let request = GetMinOffset {
            topic: queue.topic().into(),
            queue_id: queue.id(),
            broker_name: Some(queue.broker().into()),
        };
        Ok(self
            .client
            .reader_of(queue)
            .await?
            .call(&request, b"")
            .await?
            .fields::<OffsetReply>()?
            .offset)
    }

    /// The offset of the first message of a queue that was stored at or after a time.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn offset_at(&self, queue: &Queue, at: SystemTime) -> Result<i64, Error> {
        let request = SearchOffsetByTimestamp {
            topic: queue.topic().into(),
            queue_id: queue.id(),
            timestamp: unix_ms(at),
            boundary_type: Some("LOWER".into()),
            broker_name: Some(queue.broker().into()),
        };
        Ok(self
            .client
            .reader_of(queue)
            .await?
            .call(&request, b"")
            .await?
            .fields::<OffsetReply>()?
            .offset)
    }

    /// Lets every broker set a group's offsets of a topic by time, and tell the members that are online: `None` is the end, otherwise
    /// the first message stored at or after that time. Returns the new offset of each queue.
    ///
    /// # Errors
    /// When the topic has no route, or a broker does not answer or refuses, for example because no member is online.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        to: Option<SystemTime>,
    ) -> Result<Vec<(Queue, i64)>, Error> {
        let route = self.client.refresh_route(topic).await?;
        let mut offsets = Vec::new();
        for data in &route.raw().broker_datas {
            let Some(addr) = route.master(&data.broker_name) else {
                continue;
            };
            let request = InvokeBrokerToResetOffset {
                topic: topic.into(),
                group: group.into(),
                timestamp: to.map_or(-1, unix_ms),
                is_force: Some(true),
                queue_id: None,
                offset: None,
            };
            let answer = self.client.remote(addr).call(&request, b"").await;
            let answer = answer.map_err(|error| {
                error.doing(&format!("resetting group \"{group}\" in \"{topic}\""))
            })?;
            let body = ResetOffsetBody::from_json(answer.body())?;
            let queues = body.offset_table.0.iter();
            offsets.extend(queues.map(|(queue, offset)| (queue.into(), *offset)));
        }
        offsets.sort();
        Ok(offsets)
    }
}
