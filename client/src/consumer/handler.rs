//! Consumption by a handler: a fixed number of workers take messages and settle them by the handler's result.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;

use super::delivery::{Delivery, Inner};
use super::state::{ConsumerState, Item};
use super::{Consumer, ConsumerBuilder};
use crate::error::{Error, ErrorKind};
use crate::message_traces::Ended;
use crate::trace;

type Items = async_channel::Receiver<Item>;
/// Starts so many workers.
type Workers = Box<dyn FnOnce(&Arc<ConsumerState>, &Items, usize) -> Result<(), Error> + Send>;

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
#[must_use]
pub struct HandledBuilder {
    builder: ConsumerBuilder,
    workers: Workers,
}

impl HandledBuilder {
    pub(super) fn new<H, F, E>(builder: ConsumerBuilder, handler: H) -> Self
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let workers: Workers = Box::new(move |shared, items, workers| {
            let handler = Arc::new(handler);
            for _ in 0..workers {
                let (handler, items) = (Arc::clone(&handler), items.clone());
                shared.spawn(work(handler, Arc::clone(shared), items));
            }
            Ok(())
        });
        Self { builder, workers }
    }

    pub(super) fn blocking<H, E>(builder: ConsumerBuilder, handler: H) -> Self
    where
        H: Fn(Delivery) -> Result<(), E> + Send + Sync + 'static,
        E: Display + 'static,
    {
        let workers: Workers = Box::new(move |shared, items, workers| {
            let handler = Arc::new(handler);
            for _ in 0..workers {
                let (handler, items) = (Arc::clone(&handler), items.clone());
                // Not the runtime's threads for blocking work: a runtime does not end before those do.
                let started = std::thread::Builder::new()
                    .name(format!("rmq-{}", shared.group))
                    .spawn(move || work_blocking(&*handler, &items));
                started.map_err(|error| {
                    Error::new(
                        ErrorKind::Busy,
                        "a thread for the handler cannot be started",
                    )
                    .source(error)
                })?;
            }
            Ok(())
        });
        Self { builder, workers }
    }

    /// Joins the group and consumes: `Ok` means that every broker knows the member.
    ///
    /// # Errors
    /// When a setting, or the name of the group or of a topic, is not allowed, or a broker does not answer.
    ///
    /// # Cancel safety
    /// A dropped call joins nothing: what has begun ends in order, as a dropped [`Consumer`] does.
    pub async fn start(self) -> Result<Consumer, Error> {
        let count = self.builder.concurrency;
        let (consumer, items) = self.builder.start().await?;
        (self.workers)(&consumer.shared, &items, count)?;
        Ok(consumer)
    }

    /// Consumes until `end` is ready, then ends as [`Control::shutdown`](crate::Control::shutdown) does. To pause it, to look at it or
    /// to end it from elsewhere, [`HandledBuilder::start`] it and take a [`Control`](crate::Control) before [`Consumer::run_until`].
    ///
    /// # Errors
    /// As [`HandledBuilder::start`] and [`Control::shutdown`](crate::Control::shutdown).
    ///
    /// # Cancel safety
    /// Dropping it drops the consumer, which ends in order without anybody waiting for it.
    pub async fn run_until(self, end: impl Future) -> Result<(), Error> {
        self.start().await?.run_until(end).await
    }
}

impl std::fmt::Debug for HandledBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HandledBuilder")
            .field(&self.builder)
            .finish()
    }
}

async fn work<H, F, E>(handler: Arc<H>, shared: Arc<ConsumerState>, items: Items)
where
    H: Fn(Delivery) -> F + Send + Sync,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut aborted = std::pin::pin!(shared.abort.cancelled());
    while let Ok(item) = items.recv().await {
        let Some((delivery, inner)) = taken(item) else {
            continue;
        };
        // The handler's own call may panic as well as its future.
        let (span, since) = (inner.handle_span(), inner.meters().handling());
        let handled = trace::handled(inner.context(), async { handler(delivery).await });
        let handled = AssertUnwindSafe(handled.instrument(span)).catch_unwind();
        let handled = tokio::select! {
            biased;
            handled = handled => handled,
            () = &mut aborted => {
                let left = (inner.place(), inner.message_id());
                shared.left.lock().extend([left]);
                return;
            }
        };
        inner.meters().handled(since);
        match failure(handled) {
            None => inner.settle_done(),
            Some((why, ended)) => inner.failed(why, ended),
        }
    }
}

fn work_blocking<H, E>(handler: &H, items: &Items)
where
    H: Fn(Delivery) -> Result<(), E>,
    E: Display,
{
    while let Ok(item) = items.recv_blocking() {
        let Some((delivery, inner)) = taken(item) else {
            continue;
        };
        let (span, since) = (inner.handle_span().entered(), inner.meters().handling());
        let handled = || trace::handled_blocking(inner.context(), || handler(delivery));
        let handled = catch_unwind(AssertUnwindSafe(handled));
        drop(span);
        inner.meters().handled(since);
        match failure(handled) {
            None => inner.settle_done(),
            Some((why, ended)) => inner.failed(why, ended),
        }
    }
}

/// A message for a handler, and the half that settles it; `None`: there is nothing to handle.
fn taken(item: Item) -> Option<(Delivery, Arc<Inner>)> {
    match item {
        Ok(delivery) if delivery.is_stale() => {
            delivery.discard();
            None
        }
        Ok(delivery) => {
            delivery.note_taken();
            Some(delivery.split())
        }
        Err(error) => {
            tracing::error!("a consumer cannot continue everywhere: {error}");
            None
        }
    }
}

/// Why a message is not handled, in words and as message traces have it.
fn failure<E: Display>(
    handled: Result<Result<(), E>, Box<dyn Any + Send>>,
) -> Option<(String, Ended)> {
    match handled {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some((error.to_string(), Ended::Failed)),
        Err(panic) => {
            let why = format!("the handler panicked: {}", text_of(&*panic));
            Some((why, Ended::Exception))
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
