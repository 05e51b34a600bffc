//! Why an operation on messages is refused: a struct for each fact that several operations know, an enum for each operation. Each front has
//! its own table from these to its codes; the texts are those that users of Apache RocketMQ know.

use rmq_access::NotPassed;
use rmq_protocol::message::{HandleError, RecordError};
use rmq_protocol::names::NameError;
use rmq_store::{AppendError, ColdPoolFull, ReadError, SettingsError};
use thiserror::Error;

use crate::filter::FilterError;
use crate::group::member::TooFewInSync;
use crate::groups::GroupError;
use crate::light::LightError;
use crate::limits::{BODY_BYTES_MAX, LATER_BYTES_MAX, SENT_BYTES_MAX};
use crate::message_type::MessageType;
use crate::quota::{COLD_BYTES, COLD_SECONDS, Over};
use crate::topics::TopicError;

/// The broker takes no messages.
#[derive(Debug, Error)]
#[error(
    "the broker[{addr}] sending message is forbidden: its permission (brokerPermission) is {permission}, without 2 (write)"
)]
pub(crate) struct SendingForbidden {
    pub(crate) addr: String,
    pub(crate) permission: i32,
}

/// The group of a retry is not there and cannot be made.
#[derive(Debug, Error)]
#[error("subscription group not exist, {group}: {error}")]
pub(crate) struct NoGroup {
    pub(crate) group: String,
    pub(crate) error: Box<GroupError>,
}

/// A topic that the broker made by itself lacks the queue that a message needs.
#[derive(Debug, Error)]
#[error("topic {0} has no queue")]
pub(crate) struct TopicWithoutQueue(pub(crate) String);

/// What a message may ask for and this version does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Cancellations,
    LiteTopics,
}

impl Feature {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Cancellations => "messages that take a timer back (TIMER_DEL_UNIQKEY)",
            Self::LiteTopics => "messages of lite topics (__LITE_TOPIC)",
        }
    }

    pub(crate) const fn instead(self) -> &'static str {
        match self {
            Self::Cancellations => "recall it by the handle of its send (RECALL_MESSAGE, 370)",
            Self::LiteTopics => "use ordinary topics, or tags",
        }
    }
}

/// The properties of a message.
#[derive(Debug, Error)]
pub(crate) enum PropertyRefusal {
    #[error("property {name} is not {expected}: {value:?}")]
    NotUnderstood {
        name: String,
        value: String,
        expected: &'static str,
    },
    #[error(
        "{} are not supported by rmq-broker {}, and will be by a later version; {}",
        .0.text(), env!("CARGO_PKG_VERSION"), .0.instead()
    )]
    NotThere(Feature),
    #[error(transparent)]
    Further(#[from] LightError),
    #[error(
        "a transactional message (TRAN_MSG) cannot be delayed; send a delayed message when the transaction has ended"
    )]
    HalfDelayed,
    /// Text of apache/rocketmq `DefaultTopicMessageTypeValidator`, up to the semicolon.
    #[error(
        "TopicMessageType validate failed, the expected type is {expected}, but actual type is {actual}; the topic {topic} says so (message.type), and the broker checks it (enableTopicMessageTypeCheck)"
    )]
    OtherType {
        topic: String,
        expected: MessageType,
        actual: MessageType,
    },
    /// Text of apache/rocketmq `SendMessageProcessor.sendMessage`, up to the semicolon.
    #[error(
        "Required message key is missing; the topic {0} keeps the newest message of each key (cleanup.policy COMPACTION): set property KEYS"
    )]
    NoKey(String),
    #[error("a batch cannot contain delayed or transactional messages")]
    InBatch,
    /// Text of apache/rocketmq `SendMessageProcessor.handlePutMessageResult`, up to the semicolon.
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; this one is {delay_ms} ms ahead (timerMaxDelaySec)"
    )]
    TimerTooFar { delay_ms: i64, max_ms: i64 },
    #[error(
        "the properties have {0} bytes with those that the broker adds; at most {SENT_BYTES_MAX} are allowed, so that the message can be given back later"
    )]
    TooLong(usize),
    #[error(
        "the message takes {bytes} bytes; with {LATER_BYTES_MAX} for later copies that is more than a segment of {segment_bytes} bytes (segmentBytes) takes"
    )]
    NoRoom { bytes: usize, segment_bytes: u64 },
}

/// A message that is sent.
#[derive(Debug, Error)]
pub(crate) enum SendRefusal {
    /// The message names a light queue that the user may not send to.
    #[error(transparent)]
    NotPassed(#[from] NotPassed),
    #[error("the broker is stopping; send to another one")]
    Stopping,
    #[error(transparent)]
    Forbidden(#[from] SendingForbidden),
    #[error(transparent)]
    TooFew(#[from] TooFewInSync),
    #[error(
        "the body has {0} bytes; beyond {BODY_BYTES_MAX} no frame has room for it and its properties, and nobody could pull it"
    )]
    BodyTooLarge(usize),
    #[error(
        "request queueId[{queue_id}] is illegal, topic {topic} has {queues} queues (0 to {last}). Producer: {producer}",
        last = .queues - 1
    )]
    NoQueue {
        topic: String,
        queue_id: i32,
        queues: i32,
        producer: std::net::SocketAddr,
    },
    #[error(transparent)]
    Property(#[from] PropertyRefusal),
    #[error("[FLOW]topic {topic}: {over}")]
    Quota { topic: String, over: Over },
    #[error("field reconsumeTimes is negative: {0}")]
    ReconsumeTimes(i32),

    #[error("a batch cannot be sent to a retry topic")]
    BatchOfRetries,
    #[error("the batch is damaged at message {index}: {error}")]
    BatchDamaged { index: usize, error: RecordError },
    #[error("the batch has no messages")]
    BatchEmpty,

    #[error("Sending message to topic[{0}] is forbidden.")]
    TopicForbidden(String),
    #[error(transparent)]
    TopicName(NameError),
    #[error(
        "topic[{topic}] not exist, apply first please! (auto-creation after {template} is not enabled on this broker; create it: mqadmin updateTopic, rmq-ctl create topic)"
    )]
    NoTopic { topic: String, template: String },
    #[error(transparent)]
    Topic(Box<TopicError>),
    #[error(transparent)]
    Group(#[from] NoGroup),
    #[error(transparent)]
    WithoutQueue(#[from] TopicWithoutQueue),
    #[error("the topic of delayed messages is missing")]
    NoDelayTopic,
    #[error("the broker[{0}] sending transaction message is forbidden (rejectTransactionMessage)")]
    HalfForbidden(String),
    #[error(
        "{0} transactions are open, the limit (halfMessagesMax); end some of them, or try another broker"
    )]
    TooManyHalf(usize),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Store(#[from] AppendError),
    #[error("{0}; this is a defect of the broker")]
    Defect(&'static str),
}

/// A message that a consumer gives back.
#[derive(Debug, Error)]
pub(crate) enum SendBackRefusal {
    /// The message is one that the user may not read.
    #[error(transparent)]
    NotPassed(#[from] NotPassed),
    #[error(transparent)]
    Forbidden(#[from] SendingForbidden),
    #[error(transparent)]
    TooFew(#[from] TooFewInSync),
    #[error(transparent)]
    Group(#[from] NoGroup),
    #[error("look message by offset failed, {position}: {error}")]
    Read { position: i64, error: ReadError },
    #[error("look message by offset failed, {0}: it is negative")]
    Negative(i64),
    #[error("look message by offset failed, {0}")]
    Damaged(i64),
    #[error(transparent)]
    Topic(Box<TopicError>),
    #[error(transparent)]
    WithoutQueue(#[from] TopicWithoutQueue),
    /// The copy is not stored, or not as safely as the flush mode promises.
    #[error(transparent)]
    Store(#[from] AppendError),
}

/// Messages that a group asks for.
#[derive(Debug, Error)]
pub(crate) enum PullRefusal {
    #[error(
        "this broker is a replica, and consumers may not read from it (slaveReadEnable); the master of its group serves them"
    )]
    AtReplica,
    #[error("the broker[{0}] pulling message is forbidden")]
    Broker(String),
    #[error("subscription group no permission, {0}")]
    Group(String),
    #[error("the topic[{0}] pulling message is forbidden")]
    Topic(String),
    #[error("the consumer group[{0}] can not consume by broadcast way")]
    Broadcast(String),
    #[error("the consumer group[{group}] is forbidden for topic[{topic}]")]
    Subscription { group: String, topic: String },

    #[error("subscription group [{group}] does not exist: {error}")]
    NoGroup {
        group: String,
        error: Box<GroupError>,
    },
    #[error("subscription group [{0}] does not exist: it was deleted")]
    GroupDeleted(String),
    #[error("topic[{0}] not exist, apply first please!")]
    NoTopic(String),
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] consumer:[{group}]"
    )]
    NoQueue {
        topic: String,
        queue_id: i32,
        queues: i32,
        group: String,
    },
    #[error(
        "the consumer's group info not exist: group {0} has no client here; it must send a heartbeat first"
    )]
    NoClient(String),
    #[error("the consumer's subscription not exist: group {group}, topic {topic}")]
    NoSubscription { group: String, topic: String },
    #[error(
        "the consumer's subscription not latest: group {group}, topic {topic}; the broker learns the newer one by the client's next heartbeat"
    )]
    NotLatest { group: String, topic: String },
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Busy(#[from] ColdPoolFull),
    #[error("[FLOW]group {group}: {over}")]
    Quota { group: String, over: Over },
    /// Text of apache/rocketmq `PullMessageProcessor`, up to the semicolon.
    #[error(
        "This consumer group is reading cold data. It has been flow control; group {group} may read {threshold} bytes from the disk in {COLD_SECONDS} s ({COLD_BYTES})"
    )]
    ColdReads { group: String, threshold: u64 },
}

/// A delayed message that is to be taken back. The texts are those of apache/rocketmq `RecallMessageProcessor`, with more behind a colon or a semicolon.
#[derive(Debug, Error)]
pub(crate) enum RecallRefusal {
    #[error("recall failed, operation is forbidden: recallMessageEnable is false")]
    Off,
    #[error("recall failed, broker service not available: {0}")]
    Forbidden(#[from] SendingForbidden),
    #[error("recall failed, broker service not available: {0}")]
    TooFew(#[from] TooFewInSync),
    #[error("recall failed, the topic[{0}] not exist")]
    NoTopic(String),
    #[error("recall handle is invalid: field recallHandle is {handle:?}, and {error}")]
    Handle { handle: String, error: HandleError },
    #[error("recall failed, topic not match: the handle is of topic {0}")]
    OtherTopic(String),
    #[error("recall failed, broker service not available: the message is at broker {0}; ask there")]
    OtherBroker(String),
    #[error("recall failed, timestamp invalid: {0}")]
    Time(&'static str),
    #[error("recall failed, no such message waits here")]
    NotFound,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] SettingsError),
    #[error("the request was not finished: {0}")]
    Interrupted(#[from] crate::work::Interrupted),
}

/// Messages that are looked up by key or position.
#[derive(Debug, Error)]
pub(crate) enum LookUpRefusal {
    #[error("can not find message, maybe time range not correct")]
    NothingFound,
    #[error(
        "can not find message with the tag \"{tag}\" among the newest {searched} entries of each queue; name a time before which to look"
    )]
    TagNotFound { tag: String, searched: i64 },
    #[error("can not find message by the offset, {0}: {1}")]
    Read(i64, ReadError),
    #[error("can not find message by the offset, {0}: it is negative")]
    Negative(i64),
}
