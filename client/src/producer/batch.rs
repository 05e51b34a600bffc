//! Many messages of one topic in few requests.

use bytes::Bytes;
use rmq_protocol::RequestCode;
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::requests::SendMessageReply;
use tokio::time::Instant;

use super::sending;
use super::traces::OneOf;
use super::{Outgoing, Producer, SendReceipt};
use crate::error::Error;
use crate::message::Message;
use crate::message_traces::Subject;

/// Messages that fit one request.
struct Chunk {
    body: Vec<u8>,
    parts: Vec<Part>,
}

/// One of them.
struct Part {
    unique_id: String,
    /// What traces say of it, where they are written.
    traced: Option<Box<Subject>>,
}

impl Producer {
    /// Sends messages of one topic together. They are cut into requests that fit the size limit; each request is stored as a whole,
    /// in one queue, in order. The results are in the order of the messages.
    ///
    /// # Errors
    /// When the messages are of several topics or one of them cannot be sent at all; then none is sent.
    ///
    /// # Cancel safety
    /// Some requests of a dropped call may have been stored; it is not known which.
    pub async fn send_all(
        &self,
        messages: Vec<Message>,
    ) -> Result<Vec<Result<SendReceipt, SharedError>>, Error> {
        let (messages, sendings) = self.begin_all(messages)?;
        let sent = async {
            if let Some(first) = messages.first()
                && let Some(other) = messages.iter().find(|one| one.topic() != first.topic())
            {
                return Err(Error::invalid(format!(
                    "a batch is of one topic, not of \"{}\" and \"{}\"",
                    first.topic(),
                    other.topic()
                )));
            }
            let deadline = self.deadline(Instant::now());
            let _room = self.room(deadline).await?;
            self.send_chunks(&messages, deadline).await
        };
        match sent.await {
            Ok(results) => Ok(sendings
                .into_iter()
                .zip(results)
                .map(|(sending, result)| sending.ended_with(result))
                .collect()),
            Err(error) => Err(sending::failed(sendings, error)),
        }
    }

    /// Messages of one topic, cut into requests; the caller holds the room for them.
    pub(super) async fn send_chunks(
        &self,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<Vec<Result<SendReceipt, SharedError>>, Error> {
        let Some(first) = messages.first() else {
            return Ok(Vec::new());
        };
        let topic = first.topic().to_owned();
        let key = first.ordering_key().map(str::to_owned);
        let mut results = Vec::with_capacity(messages.len());
        for chunk in self.cut(messages)? {
            let outgoing = Outgoing {
                code: RequestCode::SendBatchMessage,
                topic: topic.clone(),
                ordering_key: key.clone(),
                body: Bytes::from(chunk.body),
                properties: String::new(),
                flag: 0,
                sys_flag: 0,
                unique_id: String::new(),
                born_ms: self.client.now_ms(),
                reconsume_times: 0,
                max_reconsume_times: None,
                traced: None,
            };
            match self
                .deliver_raw(&outgoing, &outgoing.any_queue(), deadline)
                .await
            {
                Ok((queue, answer)) => {
                    let reply = answer.fields::<SendMessageReply>()?;
                    let mut offset_ids = reply.msg_id.split(',');
                    for (index, part) in chunk.parts.into_iter().enumerate() {
                        let one = SendMessageReply {
                            msg_id: offset_ids.next().unwrap_or_default().to_owned(),
                            queue_offset: reply.queue_offset + index as i64,
                            ..reply.clone()
                        };
                        self.trace_part(&outgoing, &part, Some((answer.addr(), &one)));
                        results.push(Ok(SendReceipt::new(queue.clone(), part.unique_id, one)));
                    }
                }
                Err(error) => {
                    let error = SharedError::from(error);
                    for part in &chunk.parts {
                        self.trace_part(&outgoing, part, None);
                        results.push(Err(error.clone()));
                    }
                }
            }
        }
        Ok(results)
    }

    fn trace_part(
        &self,
        outgoing: &Outgoing,
        part: &Part,
        stored: Option<(&str, &SendMessageReply)>,
    ) {
        if let Some(subject) = &part.traced {
            let one = OneOf {
                topic: &outgoing.topic,
                id: &part.unique_id,
                born_ms: outgoing.born_ms,
                is_half: false,
            };
            self.trace_one(subject, &one, stored);
        }
    }

    fn cut(&self, messages: &[Message]) -> Result<Vec<Chunk>, Error> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for message in messages {
            let unique_id = self.client.unique_id(self.client.now_ms());
            let properties = message.encode_properties(&unique_id)?;
            let entry = BatchEntry {
                flag: message.user_flag(),
                body: message.body(),
                properties: &properties,
            };
            let mut encoded = Vec::new();
            batch::encode(&entry, &mut encoded).map_err(|error| {
                Error::invalid("a message of a batch is too large").source(error)
            })?;
            self.check_size(message.topic(), encoded.len())?;
            let traces = self.client.traces();
            let part = Part {
                unique_id,
                traced: traces.and_then(|traces| traces.subject(message)),
            };
            match chunks.last_mut() {
                Some(chunk)
                    if chunk.body.len() + encoded.len() <= self.shared.message_bytes_max =>
                {
                    chunk.body.extend_from_slice(&encoded);
                    chunk.parts.push(part);
                }
                _ => chunks.push(Chunk {
                    body: encoded,
                    parts: vec![part],
                }),
            }
        }
        Ok(chunks)
    }
}

/// The error of a request that carried several messages; each of them has it.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::{Message, SharedError};
///
/// for result in client.producer().send_all(vec![Message::new("orders", "1")]).await? {
///     let failed: Option<SharedError> = result.err();
///     println!("{failed:?}");
/// }
/// # Ok(()) }
/// ```
pub type SharedError = std::sync::Arc<Error>;
