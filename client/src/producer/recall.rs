//! A message that waits is taken back.

use rmq_protocol::message::RecallHandle;
use rmq_protocol::requests::{RecallMessage, RecallMessageReply};

use super::Producer;
use crate::error::Error;
use crate::queue::Queue;

impl Producer {
    /// Takes a message back that waits for its time ([`Message::deliver_after`](crate::Message::deliver_after)), by the handle of its
    /// [receipt](crate::SendReceipt::recall_handle). Returns the id of the message: it will not be delivered.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use rmq_client::Message;
    ///
    /// let producer = client.producer();
    /// let later = Message::new("reminders", "17").deliver_after(Duration::from_secs(600));
    /// let receipt = producer.send(later).await?;
    /// if let Some(handle) = receipt.recall_handle() {
    ///     producer.recall(handle).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the text is no handle, the broker of the message has no master, or the broker refuses: the message is delivered, or waits not there. A
    /// broker of Apache RocketMQ answers well too when the message is gone.
    ///
    /// # Cancel safety
    /// A dropped call may have taken the message back, or not; the same call again tells.
    pub async fn recall(&self, handle: &str) -> Result<String, Error> {
        let read = RecallHandle::decode(handle)
            .map_err(|error| Error::invalid(format!("\"{handle}\" recalls nothing: {error}")))?;
        let queue = Queue::new(read.topic.as_str(), read.broker_name.as_str(), 0);
        let master = self.client.master_for(&queue).await?;
        let request = RecallMessage {
            producer_group: Some(self.group().into()),
            topic: read.topic.as_str().into(),
            recall_handle: handle.into(),
            broker_name: Some(read.broker_name.as_str().into()),
        };
        let answer = master.call(&request, b"").await;
        self.trace_recall(&read, answer.is_ok());
        Ok(answer?.fields::<RecallMessageReply>()?.msg_id)
    }
}
