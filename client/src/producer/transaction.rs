//! Transactions: a message that counts when the producer commits it, and what a broker asks when it hears nothing.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rmq_protocol::message::{OffsetMessageId, flags, property};
use rmq_protocol::requests::{ENDED_AS, EndTransaction, Request};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Producer, ProducerState, SendReceipt};
use crate::client::WeakClient;
use crate::error::{Error, ErrorKind};
use crate::incoming::{Checked, HalfMessage};
use crate::message::Message;
use crate::message_traces::Subject;
use crate::queue::Queue;
use crate::received::ReceivedMessage;
use crate::remote::Answer;

/// Questions of brokers that are answered at once; one that finds no room comes again.
const CHECKS_MAX: usize = 64;
/// Pause before an end is tried again; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a transaction has ended, as a producer tells the broker that asks.
///
/// ```
/// use rmq_client::Decision;
///
/// // What a database says of an order; none: it cannot be asked now.
/// let is_paid = Some(true);
/// assert_eq!(is_paid.map_or(Decision::Unknown, Decision::of), Decision::Commit);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Consumers get the message.
    Commit,
    /// Nobody gets the message.
    Rollback,
    /// It cannot be told yet: the broker asks again later.
    Unknown,
}

impl Decision {
    /// Commits when something is there, as the row of an order in a database, and rolls back when it is not.
    ///
    /// ```
    /// use rmq_client::Decision;
    ///
    /// assert_eq!(Decision::of(true), Decision::Commit);
    /// ```
    #[must_use]
    pub const fn of(is_there: bool) -> Self {
        if is_there {
            Self::Commit
        } else {
            Self::Rollback
        }
    }

    const fn as_flag(self) -> i32 {
        match self {
            Self::Commit => flags::TRANSACTION_COMMIT,
            Self::Rollback => flags::TRANSACTION_ROLLBACK,
            Self::Unknown => 0,
        }
    }
}

type Refusal = Box<dyn StdError + Send + Sync>;
type Deciding = Pin<Box<dyn Future<Output = Result<Decision, Refusal>> + Send>>;

/// What answers the questions of brokers.
#[derive(Clone)]
pub(super) struct Checker(Arc<dyn Fn(ReceivedMessage) -> Deciding + Send + Sync>);

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checker")
    }
}

impl Checker {
    pub(super) fn new<F, R, E>(check: F) -> Self
    where
        F: Fn(ReceivedMessage) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Decision, E>> + Send + 'static,
        E: Into<Refusal>,
    {
        Self(Arc::new(move |message| -> Deciding {
            let deciding = check(message);
            Box::pin(async move { deciding.await.map_err(Into::into) })
        }))
    }
}

/// A transaction that has begun: its message is stored, and nobody gets it before [`commit`](Transaction::commit). One that is dropped stays
/// open: the broker asks a member of the producer group how it ended ([`ProducerBuilder::transaction_check`](crate::ProducerBuilder::transaction_check)).
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Message;
///
/// let producer = client.producer_builder().group("checkout").build();
/// let transaction = producer.begin(Message::new("orders", "17")).await?;
/// let is_paid = true; // what the database says
/// match is_paid {
///     true => transaction.commit().await?,
///     false => transaction.rollback().await?,
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a transaction that is dropped stays open, and the broker asks how it ended"]
pub struct Transaction {
    producer: Producer,
    receipt: SendReceipt,
    half: HalfId,
}

/// How a broker knows a half message.
#[derive(Debug, Clone)]
pub(super) struct HalfId {
    pub(super) queue: Queue,
    queue_offset: i64,
    position: i64,
    pub(super) id: String,
    /// The broker has asked.
    pub(super) is_answer: bool,
    /// What traces say of the message, where they are written.
    pub(super) traced: Option<Box<Subject>>,
}

impl Transaction {
    /// The id of the transaction: that of its message.
    #[must_use]
    pub fn id(&self) -> &str {
        self.receipt.message_id()
    }

    /// The queue that the message goes to.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        self.receipt.queue()
    }

    /// Consumers get the message. `Ok`: it is stored, as safely as any message.
    ///
    /// # Errors
    /// The broker refuses, as the transaction has ended otherwise, or no broker could be told in time. In the latter case the transaction is
    /// open, or committed.
    ///
    /// # Cancel safety
    /// The transaction of a dropped call is open, or committed.
    pub async fn commit(self) -> Result<(), Error> {
        self.producer.end(&self.half, Decision::Commit).await
    }

    /// Nobody gets the message.
    ///
    /// # Errors
    /// As [`commit`](Transaction::commit).
    ///
    /// # Cancel safety
    /// The transaction of a dropped call is open, or rolled back.
    pub async fn rollback(self) -> Result<(), Error> {
        self.producer.end(&self.half, Decision::Rollback).await
    }
}

impl Producer {
    /// Begins a transaction: the message is stored, and nobody gets it before it is committed. It is sent by itself, whatever
    /// [`batching`](crate::ProducerBuilder::batching) says.
    ///
    /// # Errors
    /// As [`Producer::send`]. No transaction is open then, or one that the broker asks about.
    ///
    /// # Cancel safety
    /// The message of a dropped call may be stored; the broker asks about it.
    pub async fn begin(&self, message: Message) -> Result<Transaction, Error> {
        let group = self.shared.group.clone();
        let message = message
            .set(property::TRAN_MSG, "true".to_owned())
            .set(property::PGROUP, group);
        let (message, sending) = self.begin_send(message)?;
        let deadline = self.deadline(sending.began);
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare(message)?))
        };
        let (_room, mut outgoing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        outgoing.sys_flag |= flags::TRANSACTION_PREPARED;
        let traced = outgoing.traced.clone();
        let sent = self.deliver(outgoing, None, deadline, &sending.span).await;
        let receipt = sending.ended(sent)?;
        let position = position_of(receipt.offset_id())?;
        Ok(Transaction {
            producer: self.clone(),
            half: HalfId {
                queue: receipt.queue().clone(),
                queue_offset: receipt.queue_offset(),
                position,
                id: receipt.message_id().to_owned(),
                is_answer: false,
                traced,
            },
            receipt,
        })
    }

    /// Tells the broker how a transaction ended, and tries until it knows.
    async fn end(&self, half: &HalfId, decision: Decision) -> Result<(), Error> {
        let deadline = self.deadline(Instant::now());
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.end_once(half, decision, deadline).await {
                Ok(answer) => {
                    self.trace_end(half, decision, answer.addr());
                    return Ok(());
                }
                Err(error) => error,
            };
            let passes = matches!(
                error.kind(),
                ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Busy
            );
            if !passes || Instant::now() + pause >= deadline {
                let doing = format!("ending transaction {}", half.id);
                return Err(error.doing(&doing));
            }
            // The broker may have another master now.
            self.client.expire_route(half.queue.topic());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.client.stopped().cancelled() => return Err(Error::closed()),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn end_once(
        &self,
        half: &HalfId,
        decision: Decision,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let fields = EndTransaction {
            topic: Some(half.queue.topic().into()),
            producer_group: self.shared.group.as_str().into(),
            tran_state_table_offset: half.queue_offset,
            commit_log_offset: half.position,
            commit_or_rollback: decision.as_flag(),
            from_transaction_check: Some(half.is_answer),
            msg_id: half.id.as_str().into(),
            transaction_id: Some(half.id.as_str().into()),
            broker_name: Some(half.queue.broker().into()),
        };
        let master = self.client.master_for(&half.queue).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let code = EndTransaction::CODE.as_i32();
        let answer = master.within(left).call_any(code, &fields, b"").await?;
        // The answer of an earlier try was lost.
        let ended_so = answer.field(ENDED_AS) == Some(decision.as_flag().to_string());
        match ended_so {
            true => Ok(answer),
            false => answer.success(),
        }
    }
}

fn position_of(offset_id: &str) -> Result<i64, Error> {
    let id: Result<OffsetMessageId, _> = offset_id.parse();
    let id = id.map_err(|error| {
        let what = format!("the broker gave a half message the id {offset_id:?}");
        Error::new(ErrorKind::Protocol, what).source(error)
    })?;
    Ok(i64::try_from(id.position.0).unwrap_or(i64::MAX))
}

/// Answers the questions of brokers for a producer, for as long as it lives.
pub(super) struct Answers {
    client: WeakClient,
    producer: Weak<ProducerState>,
    checker: Checker,
    room: Arc<Semaphore>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

impl Answers {
    pub(super) fn new(
        client: WeakClient,
        producer: &Arc<ProducerState>,
        checker: Checker,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            producer: Arc::downgrade(producer),
            checker,
            room: Arc::new(Semaphore::new(CHECKS_MAX)),
        })
    }
}

impl Checked for Answers {
    fn check(&self, half: HalfMessage) {
        let (Some(client), Some(shared)) = (self.client.upgrade(), self.producer.upgrade()) else {
            return;
        };
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::debug!(
                group = shared.group,
                "too many transactions are asked about at once; this one is asked about again"
            );
            return;
        };
        let Checker(check) = self.checker.clone();
        let producer = Producer::new(client.clone(), shared);
        client.tasks().spawn(async move {
            let _room = room;
            let traces = producer.client.traces();
            let id = HalfId {
                traced: traces.map(|traces| traces.subject_of_half(&half.message)),
                queue: half.message.queue().clone(),
                queue_offset: half.queue_offset,
                position: half.position,
                id: half.message.message_id(),
                is_answer: true,
            };
            let decision = check(half.message).await.unwrap_or_else(|error| {
                tracing::warn!(
                    group = producer.group(),
                    message_id = id.id,
                    "it cannot be told how a transaction ended, and the broker asks again: {error}"
                );
                Decision::Unknown
            });
            if let Err(error) = producer.end(&id, decision).await {
                tracing::warn!(
                    group = producer.group(),
                    message_id = id.id,
                    ?decision,
                    "the broker does not take how a transaction ended: {error}"
                );
            }
        });
    }
}
