//! Delivering a message: trying until a broker stored it, the time is over, or there is no sense in trying again.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use rmq_protocol::ResponseCode;
use rmq_protocol::requests::SendMessageReply;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{Prepared, Producer, SendReceipt, SendStatus, Target};
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::queue::Queue;
use crate::remote::Answer;

/// How long a message is tried when nobody says otherwise.
pub(super) const DELIVER_WITHIN: Duration = Duration::from_secs(30);
/// Pause before the first repetition; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Repetitions of what hardly passes by waiting: a refusal without a reason, a topic that nobody knows, a broker that forbids it.
const FEW: u32 = 2;

/// How far it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    No,
    Few,
    /// As long as the time lasts: brokers restart, networks heal.
    Long,
}

impl Producer {
    pub(super) async fn deliver(
        &self,
        prepared: &Prepared,
        target: &Target<'_>,
        deadline: Instant,
        span: &Span,
    ) -> Result<SendReceipt, Error> {
        if !span.is_disabled() {
            span.record("message_id", prepared.unique_id.as_str());
        }
        let sent = self.deliver_raw(prepared, target, deadline);
        let (queue, answer) = sent.instrument(span.clone()).await?;
        let status = SendStatus::of(answer.code());
        SendReceipt::new(
            queue,
            status,
            prepared.unique_id.clone(),
            answer.fields::<SendMessageReply>()?,
        )
    }

    /// The same bytes each time, so the message keeps its id.
    pub(super) async fn deliver_raw(
        &self,
        prepared: &Prepared,
        target: &Target<'_>,
        deadline: Instant,
    ) -> Result<(Queue, Answer), Error> {
        let mut pause = PAUSE_MIN;
        let mut avoid = None;
        let mut attempts = 0;
        let mut perhaps = false;
        loop {
            let error = match self.attempt(prepared, target, &mut avoid, deadline).await {
                Ok(stored) => return Ok(stored),
                Err(error) => self.client.explain(&prepared.topic, error),
            };
            // What an earlier try may have stored stays possible.
            perhaps |= error.may_have_been_processed();
            attempts += 1;
            let patience = self.patience(&error, prepared, target, avoid.as_deref());
            let goes_on = match patience.await {
                Patience::No => false,
                Patience::Few => attempts <= FEW,
                Patience::Long => true,
            };
            let is_late = Instant::now() + pause >= deadline;
            if !goes_on || is_late || attempts > self.shared.retries {
                let doing = match attempts {
                    1 => format!("sending to \"{}\"", prepared.topic),
                    _ => format!("sending to \"{}\", {attempts} times", prepared.topic),
                };
                return Err(error.doing(&doing).processed_perhaps(perhaps));
            }
            tracing::debug!(
                topic = prepared.topic,
                attempts,
                "send failed, trying again: {error}"
            );
            self.client.meters().retried(&prepared.topic, error.kind());
            self.client.tell(|| Event::Retrying {
                topic: prepared.topic.clone(),
                attempt: attempts,
                error: error.to_string(),
            });
            // The broker may have moved, or another one serves the topic now.
            self.client.expire_route(&prepared.topic);
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = self.client.stopped().cancelled() => {
                    return Err(Error::closed().processed_perhaps(perhaps));
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn patience(
        &self,
        error: &Error,
        prepared: &Prepared,
        target: &Target<'_>,
        avoid: Option<&str>,
    ) -> Patience {
        match error.kind() {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Busy => Patience::Long,
            ErrorKind::NoRoute => Patience::Few,
            // A broker that is drained is still in routes that were asked for before.
            ErrorKind::Denied if matches!(target, Target::Any(None)) => {
                match self.client.refresh_route(&prepared.topic).await {
                    Ok(route) => {
                        let mut queues = route.writable().iter();
                        match queues.any(|queue| Some(queue.broker()) != avoid) {
                            true => Patience::Few,
                            false => Patience::No,
                        }
                    }
                    Err(_) => Patience::No,
                }
            }
            // A topic that "does not exist" at the broker: the route may be older than the topic's move.
            _ if error.is_retryable()
                || error.broker_code() == Some(ResponseCode::TopicNotExist.as_i32()) =>
            {
                Patience::Few
            }
            _ => Patience::No,
        }
    }

    async fn attempt(
        &self,
        prepared: &Prepared,
        target: &Target<'_>,
        avoid: &mut Option<String>,
        deadline: Instant,
    ) -> Result<(Queue, Answer), Error> {
        let (queue, remote) = self.pick(&prepared.topic, target, avoid.as_deref()).await?;
        let request = self.request(prepared, &queue);
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let called = remote
            .within(left)
            .call_any(prepared.code.as_i32(), &request, &prepared.body)
            .await;
        let isolation = self.client.isolation();
        let answer = match called {
            Ok(answer) => answer,
            Err(error) => {
                if self.shared.isolates && error.is_retryable() {
                    isolation.failed(queue.broker());
                }
                *avoid = Some(queue.broker().to_owned());
                return Err(error);
            }
        };
        if self.shared.isolates {
            isolation.answered(queue.broker(), began.elapsed());
        }
        match ResponseCode::from_i32(answer.code()) {
            Some(
                ResponseCode::Success
                | ResponseCode::FlushDiskTimeout
                | ResponseCode::FlushSlaveTimeout
                | ResponseCode::SlaveNotAvailable,
            ) => Ok((queue, answer)),
            _ => {
                *avoid = Some(queue.broker().to_owned());
                Err(answer.error())
            }
        }
    }
}

/// Between half of `pause` and all of it, so that many producers do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}
