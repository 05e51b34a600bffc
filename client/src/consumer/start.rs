//! Where a group begins in a queue of which it has no offset.

use std::time::SystemTime;

use rmq_protocol::names::is_retry_topic;

use crate::admin::Admin;
use crate::error::Error;
use crate::queue::Queue;

/// Where a group begins to read a queue of which it has no offset yet. A group that has an offset continues there, whatever this says.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::StartFrom;
///
/// let all = client.consumer("audit").subscribe("orders", "*").from(StartFrom::First).stream().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// The next message that comes. In a young queue, whose first message the broker still has at hand, a new group begins with
    /// that first message: a consumer that starts beside its producers misses nothing. All RocketMQ clients do the same
    /// (`client/consumer/…/RebalancePushImpl.computePullFromWhereWithException` and the broker's answer to `QUERY_CONSUMER_OFFSET`).
    /// A broadcast consumer begins with the next message in every queue.
    #[default]
    Last,
    /// The oldest message that the broker has.
    First,
    /// The first message stored at or after this time.
    Time(SystemTime),
}

impl StartFrom {
    /// Whether it is the oldest message of this queue.
    pub(crate) fn is_first(self, queue: &Queue) -> bool {
        // What was given back waits in retry topics: none of it may be passed over.
        self == Self::First || is_retry_topic(queue.topic())
    }

    /// The offset to begin with; the group has none. `is_member`: the broker keeps the group's offsets.
    pub(crate) async fn offset(
        self,
        admin: &Admin,
        group: &str,
        queue: &Queue,
        is_member: bool,
    ) -> Result<i64, Error> {
        if self.is_first(queue) {
            return admin.min_offset(queue).await;
        }
        match self {
            Self::First => admin.min_offset(queue).await,
            Self::Time(at) => admin.offset_at(queue, at).await,
            Self::Last => {
                if is_member && let Some(first) = admin.young_offset(group, queue).await? {
                    return Ok(first);
                }
                admin.max_offset(queue).await
            }
        }
    }
}
