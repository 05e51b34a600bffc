//! What a broker says about a stored message.

use rmq_protocol::requests::SendMessageReply;

use crate::queue::Queue;

/// The receipt of a stored message: as safely stored as the broker is configured to.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Message;
///
/// let receipt = client.producer().send(Message::new("orders", "17")).await?;
/// println!("{} lies at {}@{}", receipt.message_id(), receipt.queue(), receipt.queue_offset());
/// println!("{} {:?}", receipt.offset_id(), receipt.recall_handle());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    queue: Queue,
    queue_offset: i64,
    message_id: String,
    offset_id: String,
    recall_handle: Option<String>,
}

impl SendReceipt {
    /// The broker says which queue it was; a request that lets it pick has a negative one.
    pub(super) fn new(queue: Queue, message_id: String, reply: SendMessageReply) -> Self {
        Self {
            queue: queue.sibling(reply.queue_id),
            queue_offset: reply.queue_offset,
            message_id,
            offset_id: reply.msg_id,
            recall_handle: reply.recall_handle,
        }
    }

    /// The id that the message carries.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Where it is stored, as an id that tools can look up.
    #[must_use]
    pub fn offset_id(&self) -> &str {
        &self.offset_id
    }

    /// Its queue.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Its place in the queue.
    #[must_use]
    pub fn queue_offset(&self) -> i64 {
        self.queue_offset
    }

    /// What recalls a delayed message, where the broker can.
    #[must_use]
    pub fn recall_handle(&self) -> Option<&str> {
        self.recall_handle.as_deref()
    }
}
