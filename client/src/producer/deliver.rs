//! Delivering a message: trying until a broker stored it, the time is over, or there is no sense in trying again.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use rmq_protocol::ResponseCode;
use rmq_protocol::requests::{MAY_BE_STORED, SendMessageReply};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{Outgoing, Producer, SendReceipt, Target};
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::queue::Queue;
use crate::remote::Answer;

/// Default time for which a message is tried.
pub(super) const DELIVER_WITHIN: Duration = Duration::from_secs(30);
/// Pause before the first repetition; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// While there is nobody to send to: a new master is to be found soon.
const AWAY_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Repetitions after an error that waiting hardly mends: a refusal without a reason, an unknown topic, a broker that forbids sending; and
/// of a message that is stored and not confirmed, as each repetition may store one more.
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
    /// Sends it to `queue`, or to any.
    pub(super) async fn deliver(
        &self,
        outgoing: Outgoing,
        queue: Option<&Queue>,
        deadline: Instant,
        span: &Span,
    ) -> Result<SendReceipt, Error> {
        if !span.is_disabled() {
            span.record("message_id", outgoing.unique_id.as_str());
        }
        let target = queue.map_or_else(|| outgoing.any_queue(), Target::Queue);
        let sent = self.deliver_raw(&outgoing, &target, deadline);
        let sent = sent.instrument(span.clone()).await;
        let sent = sent.and_then(|(queue, answer)| {
            let reply = answer.fields::<SendMessageReply>()?;
            Ok((queue, answer, reply))
        });
        let stored = sent.as_ref().ok();
        self.trace_send(
            &outgoing,
            stored.map(|(_, answer, reply)| (answer.addr(), reply)),
        );
        let (queue, _, reply) = sent?;
        Ok(SendReceipt::new(queue, outgoing.unique_id, reply))
    }

    /// The same bytes each time, so the message keeps its id.
    pub(super) async fn deliver_raw(
        &self,
        outgoing: &Outgoing,
        target: &Target<'_>,
        deadline: Instant,
    ) -> Result<(Queue, Answer), Error> {
        let mut pause = PAUSE_MIN;
        let mut avoid = None;
        let (mut attempts, mut few) = (0, 0);
        let mut perhaps = false;
        loop {
            let error = match self.attempt(outgoing, target, &mut avoid, deadline).await {
                Ok(stored) => return Ok(stored),
                Err(error) => self.client.explain(&outgoing.topic, error),
            };
            // What an earlier try may have stored stays possible.
            perhaps |= error.may_have_been_processed();
            attempts += 1;
            let patience = self.patience(&error, outgoing, target, avoid.as_deref());
            let goes_on = match patience.await {
                Patience::No => false,
                Patience::Few => {
                    few += 1;
                    few <= FEW
                }
                Patience::Long => true,
            };
            let pause_max = match error.kind() {
                ErrorKind::Unreachable => AWAY_PAUSE_MAX,
                _ => PAUSE_MAX,
            };
            let is_late = Instant::now() + pause >= deadline;
            if !goes_on || is_late || attempts > self.shared.retries {
                let doing = match attempts {
                    1 => format!("sending to \"{}\"", outgoing.topic),
                    _ => format!("sending to \"{}\", {attempts} times", outgoing.topic),
                };
                return Err(error.doing(&doing).processed_perhaps(perhaps).of_send());
            }
            tracing::debug!(
                topic = outgoing.topic,
                attempts,
                "send failed, trying again: {error}"
            );
            self.client.meters().retried(&outgoing.topic, error.kind());
            self.client.tell(|| Event::Retrying {
                topic: outgoing.topic.clone(),
                attempt: attempts,
                error: error.to_string(),
            });
            // The broker may have moved, or another one serves the topic now.
            self.client.expire_route(&outgoing.topic);
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = self.client.stopped().cancelled() => {
                    return Err(Error::closed().processed_perhaps(perhaps));
                }
            }
            pause = (pause * 2).min(pause_max);
        }
    }

    async fn patience(
        &self,
        error: &Error,
        outgoing: &Outgoing,
        target: &Target<'_>,
        avoid: Option<&str>,
    ) -> Patience {
        match error.kind() {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Busy => Patience::Long,
            ErrorKind::NoRoute => Patience::Few,
            // A broker that is drained is still in routes that were asked for before.
            ErrorKind::Denied if matches!(target, Target::Any(None)) => {
                match self.client.refresh_route(&outgoing.topic).await {
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
        outgoing: &Outgoing,
        target: &Target<'_>,
        avoid: &mut Option<String>,
        deadline: Instant,
    ) -> Result<(Queue, Answer), Error> {
        let (queue, remote) = self.pick(&outgoing.topic, target, avoid.as_deref()).await?;
        let request = self.fields_of(outgoing, &queue);
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let called = remote
            .within(left)
            .call_any(outgoing.code.as_i32(), &request, &outgoing.body)
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
        if answer.code() == ResponseCode::Success.as_i32() {
            return Ok((queue, answer));
        }
        *avoid = Some(queue.broker().to_owned());
        let perhaps = answer.field(MAY_BE_STORED).is_some();
        Err(answer.error().processed_perhaps(perhaps))
    }
}

/// Between half of `pause` and all of it, so that many producers do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}
