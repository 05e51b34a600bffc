//! Consumption as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;

use super::Consumer;
use super::delivery::Delivery;
use super::shared::Item;
use crate::error::Error;

/// Messages for this member of a group. An error item means that a queue cannot be read for a reason that waiting does not mend; the
/// others go on.
///
/// ```no_run
/// # async fn work(_: &rmq_client::Delivery) -> bool { true }
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
///
/// let mut deliveries = client.consumer("billing").subscribe("orders", "*").stream().await?;
/// while let Some(delivery) = deliveries.next().await? {
///     if work(&delivery).await {
///         delivery.ack().await?;
///     } else {
///         delivery.retry_after(Duration::from_secs(30)).await?;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Deliveries {
    consumer: Consumer,
    items: Pin<Box<async_channel::Receiver<Item>>>,
}

impl Deliveries {
    pub(super) fn new(consumer: Consumer, items: async_channel::Receiver<Item>) -> Self {
        Self {
            consumer,
            items: Box::pin(items),
        }
    }

    /// The next message; `None` when the client was shut down.
    ///
    /// # Errors
    /// When a queue cannot be read for a reason that waiting does not mend.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        futures_util::StreamExt::next(self).await.transpose()
    }

    /// To pause, seek, and look at its queues.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Ends as [`Consumer::shutdown`] does; messages that were not taken come to other members.
    ///
    /// # Errors
    /// As [`Consumer::shutdown`].
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { consumer, items } = self;
        let ended = consumer.shutdown().await;
        drop(items);
        ended
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return match self.items.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(delivery))) if delivery.is_stale() => {
                    delivery.discard();
                    continue;
                }
                polled => polled,
            };
        }
    }
}
