//! A send whose answer has not come yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::SendReceipt;
use crate::client::Client;
use crate::error::Error;

/// The result of a pipelined send, when it is awaited. Dropping it does not take the message back.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Message;
///
/// let producer = client.producer();
/// let mut pending = Vec::new();
/// for n in 0..100 {
///     pending.push(producer.submit(Message::new("orders", n.to_string())).await?);
/// }
/// for send in pending {
///     println!("{}", send.await?.queue_offset());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the result says whether the message was stored"]
pub struct PendingSend(State);

#[derive(Debug)]
enum State {
    Done(Option<Result<SendReceipt, Error>>),
    Running(JoinHandle<Result<SendReceipt, Error>>),
    /// Waits with others of its topic.
    Gathered(super::batching::Answer),
}

impl PendingSend {
    pub(super) fn gathered(answer: super::batching::Answer) -> Self {
        Self(State::Gathered(answer))
    }

    /// Lets `send` go as far as it can, which hands the message to the connection in the caller's order, then leaves it to a task.
    pub(super) async fn start(
        client: &Client,
        send: impl Future<Output = Result<SendReceipt, Error>> + Send + 'static,
    ) -> Self {
        let mut send = Box::pin(send);
        match futures_util::poll!(&mut send) {
            Poll::Ready(result) => Self(State::Done(Some(result))),
            Poll::Pending => Self(State::Running(client.tasks().spawn(send))),
        }
    }
}

impl Future for PendingSend {
    type Output = Result<SendReceipt, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Done(result) => {
                Poll::Ready(result.take().unwrap_or_else(|| Err(Error::closed())))
            }
            State::Gathered(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or_else(|_| Err(Error::closed()))),
            // A task ends without a result only when the runtime stops.
            State::Running(task) => Pin::new(task)
                .poll(context)
                .map(|joined| joined.unwrap_or_else(|_| Err(Error::closed()))),
        }
    }
}
