//! Request-reply: a message whose consumer answers, and the answer.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::RequestCode;
use rmq_protocol::message::property;
use rmq_protocol::names;
use tokio::sync::oneshot;

use super::Producer;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::received::ReceivedMessage;

/// The property that tells a reply from other messages (`MSG_TYPE`).
const REPLY: &str = "reply";

/// Requests that wait for their replies, by correlation id.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<HashMap<String, oneshot::Sender<ReceivedMessage>>>);

impl Requests {
    /// A reply has come; one that nobody waits for any more is passed over.
    pub(crate) fn replied(&self, correlation: &str, reply: ReceivedMessage) {
        match self.0.lock().remove(correlation) {
            Some(waiting) => drop(waiting.send(reply)),
            None => tracing::debug!(correlation, "nobody waits for this reply any more"),
        }
    }
}

/// Takes the request out when nobody waits any more.
struct Waiting<'a> {
    requests: &'a Requests,
    correlation: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.requests.0.lock().remove(&self.correlation);
    }
}

impl Producer {
    /// Sends a message and waits for the reply of a consumer, for `within` at most.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use rmq_client::Message;
    ///
    /// let producer = client.producer();
    /// let answer = producer.request(Message::new("prices", "apples"), Duration::from_secs(3)).await?;
    /// println!("{:?}", answer.body());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The message cannot be sent, or there is no reply in time ([`ErrorKind::Timeout`]): a consumer may have handled the message.
    ///
    /// # Cancel safety
    /// The message of a dropped call may be sent and handled.
    pub async fn request(
        &self,
        message: Message,
        within: Duration,
    ) -> Result<ReceivedMessage, Error> {
        let topic = message.topic().to_owned();
        let correlation = self.client.unique_id(self.client.now_ms());
        let message = message
            .set(property::CORRELATION_ID, correlation.clone())
            .set(property::REPLY_TO_CLIENT, self.client.id().to_owned())
            .set(property::TTL, within.as_millis().to_string());
        let requests = self.client.requests();
        let (reply, replied) = oneshot::channel();
        requests.0.lock().insert(correlation.clone(), reply);
        let _waiting = Waiting {
            requests,
            correlation,
        };
        let asked = async {
            // A broker finds the client that waits by its sign of life.
            drop(
                self.room(self.deadline(tokio::time::Instant::now()))
                    .await?,
            );
            self.client.beats().told(&self.client).await?;
            self.deliver_within(within).send(message).await?;
            replied.await.map_err(|_| Error::closed())
        };
        let answered = tokio::time::timeout(within, asked).await;
        answered.unwrap_or_else(|_| {
            let what = format!("no reply to a request to \"{topic}\" within {within:?}");
            Err(Error::new(ErrorKind::Timeout, what)
                .advice("look whether consumers of the topic run, and whether they reply"))
        })
    }

    /// Replies to a request. `Ok`: the client that waits has the reply.
    ///
    /// # Errors
    /// The message is no request, or the client that waits for the reply is gone, or the reply cannot be sent.
    ///
    /// # Cancel safety
    /// The reply of a dropped call may be sent.
    pub async fn reply(
        &self,
        request: &ReceivedMessage,
        body: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let of = |name: &str| {
            request.property(name).map(str::to_owned).ok_or_else(|| {
                let id = request.message_id();
                Error::invalid(format!("message {id} is no request: it has no {name}"))
            })
        };
        let cluster = of(property::CLUSTER)?;
        let reply = Message::new(names::reply_topic(&cluster), body)
            .set(property::MSG_TYPE, REPLY.to_owned())
            .set(property::CORRELATION_ID, of(property::CORRELATION_ID)?)
            .set(property::REPLY_TO_CLIENT, of(property::REPLY_TO_CLIENT)?)
            .set(property::TTL, of(property::TTL)?);
        let (message, sending) = self.begin_send(reply)?;
        let deadline = self.deadline(sending.began);
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare(message)?))
        };
        let (_room, mut outgoing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        outgoing.code = RequestCode::SendReplyMessageV2;
        let sent = self.deliver(outgoing, None, deadline, &sending.span).await;
        sending.ended(sent).map(drop)
    }
}
