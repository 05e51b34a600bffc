//! A producer as a sink, for streams of messages.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Sink, Stream};

use super::{PendingSend, Producer};
use crate::error::Error;
use crate::message::Message;

/// Sends what is put into it, in order, [`max_in_flight`](super::ProducerBuilder::max_in_flight) messages at once. It is ready while the
/// producer has room; flushing and closing wait until everything is stored. An error is that of one message: the others continue, and the
/// sink can be used further. Dropped, it leaves sends that have begun to themselves; the message that was put into it last may not have
/// begun.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use futures_util::{SinkExt, StreamExt, stream};
/// use rmq_client::Message;
///
/// let lines = stream::iter(0..1_000).map(|n| Ok(Message::new("orders", n.to_string())));
/// lines.forward(client.producer().sink()).await?;
/// # Ok(()) }
/// ```
#[must_use = "a sink sends what is put into it"]
pub struct MessageSink {
    producer: Producer,
    /// The message that was put in last, until it has room.
    starting: Option<BoxFuture<'static, Result<PendingSend, Error>>>,
    running: FuturesUnordered<PendingSend>,
}

impl Producer {
    /// The producer as a [`Sink`] of messages.
    pub fn sink(&self) -> MessageSink {
        MessageSink {
            producer: self.clone(),
            starting: None,
            running: FuturesUnordered::new(),
        }
    }
}

impl MessageSink {
    /// Takes the receipts that are there; the first error among them ends it.
    fn take_receipts(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while let Poll::Ready(Some(sent)) = Pin::new(&mut self.running).poll_next(context) {
            sent?;
        }
        Ok(())
    }
}

impl Sink<Message> for MessageSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(starting) = &mut self.starting {
            let started = ready!(starting.as_mut().poll(context));
            self.starting = None;
            self.running.push(started?);
        }
        Poll::Ready(self.take_receipts(context))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let producer = self.producer.clone();
        self.starting = Some(Box::pin(async move { producer.submit(message).await }));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.as_mut().poll_ready(context))?;
        if self.running.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // What lingers to leave with others.
        self.producer.flush();
        while let Some(sent) = ready!(Pin::new(&mut self.running).poll_next(context)) {
            sent?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(context)
    }
}

impl std::fmt::Debug for MessageSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageSink")
            .field("producer", &self.producer)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
