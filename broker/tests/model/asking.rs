//! What clients ask the broker for. Mistakes are made here, on the way.

use std::sync::atomic::{AtomicU64, Ordering};

use rmq_protocol::bodies::{LockBatch, LockedQueues, MessageQueue, TransactionList};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::FieldSource;
use rmq_protocol::message::{RecordView, flags, property};
use rmq_protocol::names::{SCHEDULE_TOPIC, TIMER_TOPIC};
use rmq_protocol::requests::{
    ConsumerSendMsgBack, EndTransaction, GetMaxOffset, GetTransactions, OffsetReply, PullMessage,
    PullMessageReply, QueryConsumerOffset, RecallMessage, Reply as _, ResumeCheckHalfMessage,
    SendMessageReply, UpdateConsumerOffset,
};
use rmq_transport::OwnedFrame;

use crate::mistakes::Mistake;
use crate::model::{Coming, Item, Place, Seen};
use crate::operations::Ending;
use crate::run::{GROUP, TOPIC};
use crate::support::{Client, Refused, message, pull, remark};

/// Producers of transactions.
pub(crate) const PRODUCERS: &str = "payers";
/// How a mistake is made: with one of so many requests.
const ONE_IN: u64 = 4;

/// What makes a message wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Level(i32),
    Seconds(i64),
    Millis(i64),
    /// A time of the wall clock, Unix milliseconds.
    Until(i64),
    Half(Option<i32>),
}

/// A message to send.
#[derive(Debug, Clone)]
pub(crate) struct NewMessage {
    pub(crate) id: u32,
    pub(crate) queue: i32,
    pub(crate) tag: char,
    pub(crate) body: String,
    pub(crate) kind: Kind,
    /// Where it goes; half messages go nowhere yet.
    pub(crate) coming: Option<Coming>,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Send(NewMessage),
    Recall {
        id: u32,
        handle: String,
    },
    End {
        id: u32,
        place: (i64, i64),
        ending: Ending,
    },
    Resume {
        id: u32,
        message_id: String,
    },
    GiveBack {
        position: i64,
        level: i32,
        item: Item,
        coming: Coming,
    },
    Commit {
        queue: i32,
        offset: i64,
    },
    Lock {
        client: u8,
        is_on: bool,
    },
}

impl Call {
    /// The message that comes by it.
    pub(crate) fn brings(&self) -> Option<(Item, Coming)> {
        match self {
            Self::Send(new) => {
                let item = Item {
                    id: new.id,
                    attempt: 0,
                };
                Some((item, new.coming?))
            }
            Self::GiveBack { item, coming, .. } => Some((*item, *coming)),
            _ => None,
        }
    }
}

/// What a request is told.
#[derive(Debug)]
pub(crate) enum Told {
    Sent(Box<SendMessageReply>),
    Done,
    Locked(bool),
}

/// How a request ends.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Told),
    Refused(Refused),
    /// It may be done or not.
    Unheard(String),
}

/// A client, and the mistake on its way.
pub(crate) struct Asking {
    pub(crate) client: Client,
    mistake: Mistake,
    requests: AtomicU64,
}

impl Asking {
    pub(crate) fn new(client: Client, mistake: Mistake) -> Self {
        Self {
            client,
            mistake,
            requests: AtomicU64::new(0),
        }
    }

    /// Whether this mistake is made now.
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
            && self
                .requests
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(ONE_IN)
    }

    async fn ask(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<OwnedFrame, Answer> {
        match self.client.try_call(code, fields, body).await {
            Ok(frame) if frame.code() == 0 => Ok(frame),
            Ok(frame) => Err(Answer::Refused(Refused {
                code: frame.code(),
                remark: remark(&frame),
            })),
            Err(error) => Err(Answer::Unheard(error.to_string())),
        }
    }

    /// Asks once.
    pub(crate) async fn call(&self, call: &Call) -> Answer {
        let told = match call {
            Call::Send(new) => self.send(new).await,
            Call::Recall { handle, .. } => self.recall(handle).await,
            Call::End { id, place, ending } => self.end(*id, *place, *ending).await,
            Call::Resume { message_id, .. } => {
                let fields = ResumeCheckHalfMessage {
                    topic: Some(TOPIC.into()),
                    msg_id: Some(message_id.as_str().into()),
                };
                let code = RequestCode::ResumeCheckHalfMessage;
                self.ask(code, &fields, &[]).await.map(|_| Told::Done)
            }
            Call::GiveBack {
                position,
                level,
                item,
                ..
            } => self.give_back(*position, *level, item.attempt).await,
            Call::Commit { queue, offset } => self.commit(*queue, *offset).await,
            Call::Lock { client, is_on } => self.lock(*client, *is_on).await,
        };
        told.map_or_else(|answer| answer, Answer::Done)
    }

    async fn send(&self, new: &NewMessage) -> Result<Told, Answer> {
        let is_plain = new.kind == Kind::Plain;
        if is_plain && self.makes(Mistake::LosesMessage) {
            return self.pretend_sent(new.queue).await;
        }
        let (name, value) = match new.kind {
            Kind::Plain => ("", String::new()),
            Kind::Level(level) if self.makes(Mistake::WaitsNextLevel) => {
                (property::DELAY, (level + 1).to_string())
            }
            Kind::Level(level) => (property::DELAY, level.to_string()),
            Kind::Seconds(seconds) => (property::TIMER_DELAY_SEC, seconds.to_string()),
            Kind::Millis(ms) if ms > 1 && self.makes(Mistake::EndsTimerEarly) => {
                (property::TIMER_DELAY_MS, (ms - 1).to_string())
            }
            Kind::Millis(ms) if self.makes(Mistake::EndsTimerLate) => {
                (property::TIMER_DELAY_MS, (ms + 1_000).to_string())
            }
            Kind::Millis(ms) => (property::TIMER_DELAY_MS, ms.to_string()),
            Kind::Until(at_ms) => (property::TIMER_DELIVER_MS, at_ms.to_string()),
            Kind::Half(_) if self.makes(Mistake::ShowsHalf) => ("", String::new()),
            Kind::Half(_) => (property::TRAN_MSG, "true".to_owned()),
        };
        let id = format!("u{}", new.id);
        let tag = new.tag.to_string();
        let mut properties = vec![(property::UNIQ_KEY, id), (property::TAGS, tag)];
        if !name.is_empty() {
            properties.push((name, value));
        }
        if let Kind::Half(immunity_s) = new.kind {
            properties.push((property::PGROUP, PRODUCERS.to_owned()));
            let seconds = immunity_s.map(|seconds| seconds.to_string());
            properties.extend(seconds.map(|text| (property::CHECK_IMMUNITY_TIME_IN_SECONDS, text)));
        }
        let text: String = properties
            .iter()
            .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
            .collect();
        let fields = message(TOPIC, new.queue, &text);
        let code = RequestCode::SendMessageV2;
        if is_plain && self.makes(Mistake::StoresTwice) {
            self.ask(code, &fields, new.body.as_bytes()).await?;
        }
        let answer = self.ask(code, &fields, new.body.as_bytes()).await?;
        let sent = SendMessageReply::decode(&answer.header().fields);
        sent.map(|sent| Told::Sent(Box::new(sent)))
            .map_err(|error| Answer::Unheard(error.to_string()))
    }

    /// What the answer to a message would be.
    async fn pretend_sent(&self, queue_id: i32) -> Result<Told, Answer> {
        let fields = GetMaxOffset {
            topic: TOPIC.into(),
            queue_id,
            committed: None,
            broker_name: None,
        };
        let answer = self.ask(RequestCode::GetMaxOffset, &fields, &[]).await?;
        let end = OffsetReply::decode(&answer.header().fields);
        let end = end.map_err(|error| Answer::Unheard(error.to_string()))?;
        Ok(Told::Sent(Box::new(SendMessageReply {
            msg_region: None,
            trace_on: None,
            msg_id: String::new(),
            queue_id,
            queue_offset: end.offset,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
        })))
    }

    async fn recall(&self, handle: &str) -> Result<Told, Answer> {
        if self.makes(Mistake::IgnoresRecall) {
            return Ok(Told::Done);
        }
        let fields = RecallMessage {
            producer_group: Some("producers".into()),
            topic: TOPIC.into(),
            recall_handle: handle.into(),
            broker_name: None,
        };
        let answer = self.ask(RequestCode::RecallMessage, &fields, &[]).await;
        answer.map(|_| Told::Done)
    }

    async fn end(
        &self,
        id: u32,
        (offset, position): (i64, i64),
        ending: Ending,
    ) -> Result<Told, Answer> {
        let kind = match ending {
            Ending::RollBack if self.makes(Mistake::CommitsAll) => flags::TRANSACTION_COMMIT,
            Ending::Commit => flags::TRANSACTION_COMMIT,
            Ending::RollBack => flags::TRANSACTION_ROLLBACK,
            Ending::Unknown => 0,
        };
        if kind != 0 && self.makes(Mistake::LosesEnd) {
            return Ok(Told::Done);
        }
        let key = format!("u{id}");
        let fields = EndTransaction {
            topic: Some(TOPIC.into()),
            producer_group: PRODUCERS.into(),
            tran_state_table_offset: offset,
            commit_log_offset: position,
            commit_or_rollback: kind,
            from_transaction_check: Some(false),
            msg_id: key.as_str().into(),
            transaction_id: Some(key.as_str().into()),
            broker_name: None,
        };
        let answer = self.ask(RequestCode::EndTransaction, &fields, &[]).await;
        answer.map(|_| Told::Done)
    }

    /// `attempt`: which attempt comes next.
    async fn give_back(&self, position: i64, level: i32, attempt: i32) -> Result<Told, Answer> {
        let is_last = attempt > 2 && level >= 0;
        let max = (is_last && self.makes(Mistake::NeverGivesUp)).then_some(99);
        let fields = ConsumerSendMsgBack {
            offset: position,
            group: GROUP.into(),
            delay_level: level,
            origin_msg_id: None,
            origin_topic: Some(TOPIC.into()),
            unit_mode: None,
            max_reconsume_times: max,
            broker_name: None,
            dead_letter_reason: None,
        };
        let code = RequestCode::ConsumerSendMsgBack;
        if self.makes(Mistake::GivesBackTwice) {
            self.ask(code, &fields, &[]).await?;
        }
        self.ask(code, &fields, &[]).await.map(|_| Told::Done)
    }

    async fn commit(&self, queue_id: i32, offset: i64) -> Result<Told, Answer> {
        if self.makes(Mistake::LosesProgress) {
            return Ok(Told::Done);
        }
        let fields = UpdateConsumerOffset {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            queue_id,
            commit_offset: match self.makes(Mistake::SkipsOne) {
                true => offset + 1,
                false => offset,
            },
            broker_name: None,
        };
        let code = RequestCode::UpdateConsumerOffset;
        self.ask(code, &fields, &[]).await.map(|_| Told::Done)
    }

    async fn lock(&self, client: u8, is_on: bool) -> Result<Told, Answer> {
        let queue = MessageQueue {
            topic: TOPIC.to_owned(),
            broker_name: "broker-a".to_owned(),
            queue_id: 0,
        };
        let wanted = LockBatch {
            client_id: format!("consumer {client}"),
            consumer_group: "in-order".to_owned(),
            mq_set: vec![queue.clone()],
            ..LockBatch::default()
        };
        let code = match is_on {
            true => RequestCode::LockBatchMq,
            false => RequestCode::UnlockBatchMq,
        };
        if is_on && self.makes(Mistake::LocksTwice) {
            return Ok(Told::Locked(true));
        }
        let answer = self.ask(code, &(), &wanted.to_json()).await?;
        if !is_on {
            return Ok(Told::Done);
        }
        let locked = LockedQueues::from_json(answer.body());
        let locked = locked.map_err(|error| Answer::Unheard(error.to_string()))?;
        Ok(Told::Locked(locked.lock_ok_mq_set == [queue]))
    }

    /// Where the group continues.
    pub(crate) async fn progress(&self, queue_id: i32) -> Result<Option<i64>, String> {
        let fields = QueryConsumerOffset {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            queue_id,
            set_zero_if_not_found: Some(false),
            broker_name: None,
        };
        let code = RequestCode::QueryConsumerOffset;
        match self.ask(code, &fields, &[]).await {
            Ok(answer) => OffsetReply::decode(&answer.header().fields)
                .map(|reply| Some(reply.offset))
                .map_err(|error| error.to_string()),
            Err(Answer::Refused(refused))
                if refused.code == ResponseCode::QueryNotFound.as_i32() =>
            {
                Ok(None)
            }
            Err(answer) => Err(format!("unheard: where the group continues: {answer:?}")),
        }
    }

    /// Transactions that are open, or parked.
    pub(crate) async fn transactions(&self, is_parked: bool) -> Result<TransactionList, String> {
        let fields = GetTransactions {
            behind: None,
            parked: Some(is_parked),
            max_num: Some(256),
        };
        let answer = self.ask(RequestCode::GetTransactions, &fields, &[]).await;
        let answer = answer.map_err(|answer| format!("unheard: transactions: {answer:?}"))?;
        TransactionList::from_json(answer.body()).map_err(|error| error.to_string())
    }

    /// Some of what lies at a place from an offset on, and the offset behind it.
    pub(crate) async fn read(
        &self,
        place: Place,
        offset: i64,
        group: &str,
        tag: Option<char>,
        count: i32,
    ) -> Result<(Vec<Seen>, i64), String> {
        let (topic, queue) = match place {
            Place::Queue(queue) => (TOPIC.to_owned(), queue),
            Place::Retries => (format!("%RETRY%{GROUP}"), 0),
            Place::Dead => (format!("%DLQ%{GROUP}"), 0),
            Place::Level(level) => (SCHEDULE_TOPIC.to_owned(), level - 1),
            Place::Timers => (TIMER_TOPIC.to_owned(), 0),
        };
        let fields = PullMessage {
            consumer_group: group.into(),
            max_msg_nums: count,
            subscription: Some(tag.map_or("*".to_owned(), String::from).into()),
            ..pull(&topic, queue, offset)
        };
        let code = RequestCode::PullMessage;
        let answer = self.client.try_call(code, &fields, &[]).await;
        let answer = answer.map_err(|error| format!("unheard: {place:?} {offset}: {error}"))?;
        let next = PullMessageReply::decode(&answer.header().fields);
        // A topic of retries is made by the first one, and has no offsets before.
        let next = next.map_or(offset, |reply| reply.next_begin_offset);
        let empty = [
            ResponseCode::PullNotFound,
            ResponseCode::PullRetryImmediately,
            ResponseCode::PullOffsetMoved,
            ResponseCode::TopicNotExist,
        ];
        if empty.iter().any(|code| code.as_i32() == answer.code()) {
            return Ok((Vec::new(), next));
        }
        if answer.code() != 0 {
            let text = remark(&answer);
            return Err(format!(
                "unheard: {place:?} {offset}: {} {text}",
                answer.code()
            ));
        }
        let seen: Result<Vec<Seen>, String> = RecordView::iter(answer.body())
            .map(|view| seen(place, &view.map_err(|error| error.to_string())?))
            .collect();
        Ok((seen?, next))
    }
}

fn seen(place: Place, view: &RecordView<'_>) -> Result<Seen, String> {
    if view.check_record_crc() != Ok(true) {
        return Err(format!("changed: {place:?} {}", view.queue_offset().0));
    }
    let text = |name| view.property(name).map(str::to_owned);
    Ok(Seen {
        place,
        offset: view.queue_offset().0,
        position: view.position().0 as i64,
        attempt: view.reconsume_times(),
        body: String::from_utf8_lossy(view.body()).into_owned(),
        tag: text(property::TAGS),
        retry_topic: text(property::RETRY_TOPIC),
    })
}
