//! Consumption as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use super::Consumer;
use super::delivery::Delivery;
use super::state::Item;
use crate::error::Error;

/// Messages for this member of a group. An error item means that a queue cannot be read for a reason that waiting does not mend; the
/// others continue.
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
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing, and the next call continues.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        futures_util::StreamExt::next(self).await.transpose()
    }

    /// The same messages, several at a time: up to `max`, or what came within `within` of the first.
    ///
    /// ```no_run
    /// # async fn store(_: &[rmq_client::Delivery]) {}
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    ///
    /// let deliveries = client.consumer("billing").subscribe("orders", "*").stream().await?;
    /// let mut batches = deliveries.batches(100, Duration::from_millis(50));
    /// while let Some(batch) = batches.next().await? {
    ///     store(&batch).await;
    ///     for delivery in batch {
    ///         delivery.ack().await?;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn batches(self, max: usize, within: Duration) -> Batches {
        Batches {
            deliveries: self,
            max: max.max(1),
            within,
            gathered: Vec::new(),
            until: None,
        }
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
    ///
    /// # Cancel safety
    /// Dropping the future drops the consumer: the consumer then ends by itself.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { consumer, items } = self;
        let ended = consumer.shutdown().await;
        drop(items);
        ended
    }
}

/// Messages for this member of a group, several at a time.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
///
/// let deliveries = client.consumer("billing").subscribe("orders", "*").stream().await?;
/// let mut batches = deliveries.batches(100, Duration::from_millis(50));
/// while let Some(batch) = batches.next().await? {
///     println!("{} of {:?}", batch.len(), batches.consumer().assignment());
///     for delivery in batch {
///         delivery.ack().await?;
///     }
/// }
/// batches.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Batches {
    deliveries: Deliveries,
    max: usize,
    within: Duration,
    /// Kept here, so that a dropped wait loses nothing.
    gathered: Vec<Delivery>,
    /// When the gathered ones are given, counted from the first, however many waits are dropped meanwhile.
    until: Option<Instant>,
}

impl Batches {
    /// The next messages, at least one; `None` when the client was shut down.
    ///
    /// # Errors
    /// As [`Deliveries::next`]. What was gathered before comes with the next call.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing, and the next call continues.
    pub async fn next(&mut self) -> Result<Option<Vec<Delivery>>, Error> {
        if self.gathered.is_empty() {
            match self.deliveries.next().await? {
                Some(first) => self.gathered.push(first),
                None => return Ok(None),
            }
        }
        let until = *self
            .until
            .get_or_insert_with(|| Instant::now() + self.within);
        while self.gathered.len() < self.max {
            match tokio::time::timeout_at(until, self.deliveries.next()).await {
                Ok(Ok(Some(delivery))) => self.gathered.push(delivery),
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        self.until = None;
        Ok(Some(std::mem::take(&mut self.gathered)))
    }

    /// To pause, seek, and look at its queues.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        self.deliveries.consumer()
    }

    /// Ends as [`Deliveries::shutdown`] does.
    ///
    /// # Errors
    /// As [`Deliveries::shutdown`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the consumer: the consumer then ends by itself.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self {
            deliveries,
            gathered,
            ..
        } = self;
        drop(gathered);
        deliveries.shutdown().await
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
                Poll::Ready(Some(Ok(delivery))) => {
                    delivery.note_taken();
                    Poll::Ready(Some(Ok(delivery)))
                }
                polled => polled,
            };
        }
    }
}
