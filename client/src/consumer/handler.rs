//! Consumption by a handler: a fixed number of workers take messages and settle them by the handler's result.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::delivery::{Delivery, Outcome};
use super::shared::Item;
use super::{Consumer, ConsumerBuilder};
use crate::error::Error;

/// A consumer with its handler, to be started.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let handled = client
///     .consumer("billing")
///     .subscribe("orders", "*")
///     .handler(|_| async { Ok::<_, std::io::Error>(()) });
/// // `start` gives a handle; `run_until` waits for an end and leaves in order.
/// handled.run_until(std::future::pending::<()>()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct HandledBuilder<H> {
    builder: ConsumerBuilder,
    handler: H,
}

impl<H> HandledBuilder<H> {
    pub(super) fn new(builder: ConsumerBuilder, handler: H) -> Self {
        Self { builder, handler }
    }

    /// Joins the group and consumes: `Ok` means that every broker knows the member.
    ///
    /// # Errors
    /// When the group or a topic has a name that is not allowed, or a broker does not answer.
    pub async fn start<F, E>(self) -> Result<Consumer, Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let workers = self.builder.concurrency;
        let (consumer, items) = self.builder.start().await?;
        let handler = Arc::new(self.handler);
        for _ in 0..workers {
            consumer
                .shared
                .tasks
                .spawn(work(Arc::clone(&handler), items.clone()));
        }
        Ok(consumer)
    }

    /// Consumes until `end` is ready, then ends as [`Consumer::shutdown`] does.
    ///
    /// # Errors
    /// As [`HandledBuilder::start`] and [`Consumer::shutdown`].
    pub async fn run_until<F, E>(self, end: impl Future) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let consumer = self.start().await?;
        end.await;
        consumer.shutdown().await
    }
}

async fn work<H, F, E>(handler: Arc<H>, items: async_channel::Receiver<Item>)
where
    H: Fn(Delivery) -> F + Send + Sync,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    while let Ok(item) = items.recv().await {
        let delivery = match item {
            Ok(delivery) if delivery.is_stale() => {
                delivery.discard();
                continue;
            }
            Ok(delivery) => delivery,
            Err(error) => {
                tracing::error!("a consumer cannot go on everywhere: {error}");
                continue;
            }
        };
        let (delivery, inner) = delivery.split();
        // The handler's own call may panic as well as its future.
        let handled = AssertUnwindSafe(async { handler(delivery).await })
            .catch_unwind()
            .await;
        let why = match handled {
            Ok(Ok(())) => {
                let _ = inner.settle(Outcome::Done).await;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("the handler panicked: {}", text_of(&*panic)),
        };
        inner.failed(&why);
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
