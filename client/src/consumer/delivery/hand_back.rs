//! A message goes back to a broker: it comes again later, or goes to the dead letters.

use std::time::Duration;

use rmq_protocol::message::property;
use rmq_protocol::names::retry_topic;
use rmq_protocol::requests::ConsumerSendMsgBack;

use super::{DEAD_LETTER, Inner};
use crate::error::Error;
use crate::message::{Message, Retry};

/// Bytes of a reason that go with a dead letter.
const REASON_BYTES_MAX: usize = 1_024;
/// Between tries to hand a message back while no broker takes it.
const HAND_BACK_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Gives the message to the broker for later. It stays open until a broker took it, so it cannot be lost.
    pub(super) async fn hand_back(&self, delay_level: i32, why: Option<&str>) -> Result<(), Error> {
        loop {
            let handed_back = tokio::select! {
                handed_back = self.hand_back_once(delay_level, why) => handed_back,
                () = self.held.gone() => return Err(Error::closed()),
            };
            let error = match handed_back {
                Ok(()) => {
                    self.done();
                    return Ok(());
                }
                Err(error) => error,
            };
            tracing::warn!(
                message_id = self.message.message_id(),
                queue = %self.message.queue(),
                "cannot be handed back, trying again: {error}"
            );
            tokio::select! {
                () = tokio::time::sleep(HAND_BACK_PAUSE) => {}
                () = self.held.gone() => return Err(error),
            }
        }
    }

    async fn hand_back_once(&self, delay_level: i32, why: Option<&str>) -> Result<(), Error> {
        let shared = self.held.shared();
        let message = &self.message;
        let id = message.offset_id();
        let request = ConsumerSendMsgBack {
            offset: i64::try_from(id.position.0).unwrap_or(i64::MAX),
            group: shared.group.as_str().into(),
            delay_level,
            origin_msg_id: Some(message.message_id().into()),
            origin_topic: Some(message.topic().into()),
            unit_mode: Some(false),
            max_reconsume_times: self.retries_max(),
            broker_name: Some(message.queue().broker().into()),
            dead_letter_reason: why.map(|why| reason(why).into()),
        };
        let handed = async {
            let master = shared.client.master_for(message.queue()).await?;
            master.call(&request, b"").await
        };
        let Err(error) = handed.await else {
            return Ok(());
        };
        // The broker may be gone or have deleted the message; a copy at any broker serves as well, but not as a dead letter.
        if delay_level == DEAD_LETTER {
            shared.client.expire_route(message.topic());
            return Err(error);
        }
        let copy = self.copy(delay_level);
        shared.client.producer().send(copy).await.map(drop)
    }

    fn copy(&self, delay_level: i32) -> Message {
        let message = &self.message;
        let level = if delay_level > 0 {
            delay_level
        } else {
            3 + message.reconsume_times()
        };
        let topic = retry_topic(&self.held.shared().group);
        let mut copy = Message::new(topic, message.body().clone()).flag(message.flag());
        for (name, value) in message.properties() {
            if name != property::UNIQ_KEY && name != property::WAIT {
                copy = copy.set(name, value.to_owned());
            }
        }
        let origin = message
            .property(property::RETRY_TOPIC)
            .unwrap_or_else(|| message.topic());
        // As a broker names the first of all copies.
        let first = match message.property(property::ORIGIN_MESSAGE_ID) {
            Some(first) => first.to_owned(),
            None => message.offset_id().to_string(),
        };
        copy.set(property::RETRY_TOPIC, origin.to_owned())
            .set(property::ORIGIN_MESSAGE_ID, first)
            .set(property::DELAY, level.to_string())
            .with_retry(Retry {
                id: message.property(property::UNIQ_KEY).map(str::to_owned),
                times: message.reconsume_times() + 1,
                times_max: self.retries_max(),
            })
    }

    /// After how many retries brokers give a message up; `None`: the group's setting counts.
    fn retries_max(&self) -> Option<i32> {
        let times = self.held.shared().settings.retry.times();
        times.map(|times| i32::try_from(times).unwrap_or(i32::MAX))
    }
}

/// What a broker keeps of a reason: a header carries any text, a property neither of its separators.
fn reason(why: &str) -> String {
    let mut kept: String = why
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    kept.truncate(kept.floor_char_boundary(REASON_BYTES_MAX));
    kept
}
