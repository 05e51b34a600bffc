//! The one table from refusals to response codes, and the way of an answer to the wire. What a client does with a code decides about its
//! choice: 17, 14, 1, 2, 16, 204, 205 make a Java producer try again, 10, 11 and 12 mean "stored, but less safely than configured". The
//! matches have no arm for "all others": a new refusal does not compile without a code.

use std::borrow::Cow;
use std::ops::Deref;

use rmq_election::driver::RequestError;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::message::flags;
use rmq_protocol::requests::ENDED_AS;
use rmq_store::{AppendError, ReadError, SettingsError};
use rmq_transport::{Exchange, OwnedFrame, PendingReply, Reply};

use crate::admin::refusal::{
    ConfigRefusal, GroupMasterRefusal, GroupRefusal, TopicRefusal, UserRefusal,
};
use crate::backups::BackupRefusal;
use crate::clients::refusal::ClientRefusal;
use crate::filter::FilterError;
use crate::groups::GroupError;
use crate::handlers::refusal::{FormRefusal, Handled, Refusal, RelayRefusal};
use crate::light::LightError;
use crate::messages::refusal::{
    LookUpRefusal, NoGroup, PropertyRefusal, PullRefusal, RecallRefusal, SendBackRefusal,
    SendRefusal,
};
use crate::progress::refusal::{OffsetRefusal, ResetRefusal};
use crate::stats::requests::{self, Requests, Tally};
use crate::tables::half::{Ending, NotOpen};
use crate::topics::TopicError;
use crate::transactions::refusal::{EndRefusal, ResumeRefusal};
use crate::users::UsersError;

/// A successful answer that is given later.
pub(crate) struct Answer<F = (), B = Vec<u8>> {
    remark: Option<Cow<'static, str>>,
    fields: F,
    body: B,
}

impl Answer {
    /// Nothing but success.
    pub(crate) const fn empty() -> Self {
        Self::fields(())
    }
}

impl<F> Answer<F> {
    pub(crate) const fn fields(fields: F) -> Self {
        Self {
            remark: None,
            fields,
            body: Vec::new(),
        }
    }
}

impl<B> Answer<(), B> {
    pub(crate) const fn body(body: B) -> Self {
        Self::of((), body)
    }
}

impl<F, B> Answer<F, B> {
    pub(crate) const fn of(fields: F, body: B) -> Self {
        Self {
            remark: None,
            fields,
            body,
        }
    }

    pub(crate) fn with_remark(self, remark: impl Into<Cow<'static, str>>) -> Self {
        Self {
            remark: Some(remark.into()),
            ..self
        }
    }
}

/// Answers a request that was handled in place, when it was refused, and counts the answer.
pub(crate) fn in_place(
    requests: &Requests,
    answered: &mut Tally,
    exchange: &mut Exchange<'_>,
    handled: Handled,
) {
    if let Err(refusal) = handled {
        refuse(exchange, &refusal);
    }
    if let Some(response) = exchange.answered() {
        requests::note(answered, exchange.header.code);
        if requests::is_refusal(response) {
            requests.refused(response, 1);
        }
    }
}

#[cold]
fn refuse(exchange: &mut Exchange<'_>, refusal: &Refusal) {
    let remark = Some(refusal.to_string().into());
    exchange.reply(code_of(refusal), remark, &Fields(refusal), &[]);
}

/// Refuses a parked request. [`Requests`] counts the answer.
#[cold]
pub(crate) fn refuse_later(reply: PendingReply, refusal: &Refusal) {
    let remark = Some(refusal.to_string().into());
    reply.reply(code_of(refusal), remark, &Fields(refusal), &[]);
}

/// The header fields of a refusal.
struct Fields<'a>(&'a Refusal);

impl FieldSource for Fields<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        match self.0 {
            Refusal::Pull(refusal) => {
                if let Some(by) = forbidden_by(refusal) {
                    sink.int("forbiddenType", by);
                }
            }
            // Who repeats an end whose answer was lost learns that it counts.
            Refusal::End(EndRefusal::NotOpen {
                why: NotOpen::Ended(ending),
                ..
            }) => match ending {
                Ending::Commit => sink.int(ENDED_AS, flags::TRANSACTION_COMMIT.into()),
                Ending::RollBack => sink.int(ENDED_AS, flags::TRANSACTION_ROLLBACK.into()),
                Ending::Move => {}
            },
            _ => {}
        }
    }
}

/// Who forbids a pull, when it is forbidden (apache/rocketmq `ForbiddenType`).
fn forbidden_by(refusal: &PullRefusal) -> Option<i64> {
    match refusal {
        PullRefusal::Broker(_) => Some(1),
        PullRefusal::Group(_) => Some(2),
        PullRefusal::Topic(_) => Some(3),
        PullRefusal::Broadcast(_) => Some(4),
        PullRefusal::Subscription { .. } => Some(5),
        PullRefusal::NoGroup { .. }
        | PullRefusal::GroupDeleted(_)
        | PullRefusal::NoTopic(_)
        | PullRefusal::NoQueue { .. }
        | PullRefusal::NoClient(_)
        | PullRefusal::NoSubscription { .. }
        | PullRefusal::NotLatest { .. }
        | PullRefusal::Filter(_)
        | PullRefusal::Busy(_)
        | PullRefusal::Quota { .. }
        | PullRefusal::ColdReads { .. }
        | PullRefusal::AtReplica => None,
    }
}

/// Answers a parked request. [`Requests`] counts the answer.
pub(crate) fn later<F: FieldSource, B: Deref<Target = [u8]>>(
    reply: PendingReply,
    handled: Result<Answer<F, B>, Refusal>,
) {
    match handled {
        Ok(answer) => reply.reply(
            ResponseCode::Success,
            answer.remark,
            &answer.fields,
            &answer.body,
        ),
        Err(refusal) => refuse_later(reply, &refusal),
    }
}

/// Answers a parked request with the answer of whom it was passed on to.
pub(crate) fn relayed(reply: PendingReply, asked: Result<OwnedFrame, Refusal>) {
    match asked {
        Ok(frame) => {
            let header = frame.header();
            let remark = header
                .remark
                .as_ref()
                .map(|remark| remark.to_cow().into_owned().into());
            let code = ResponseCode::from_i32(frame.code()).unwrap_or(ResponseCode::SystemError);
            reply.reply(code, remark, &header.fields, frame.body());
        }
        Err(refusal) => refuse_later(reply, &refusal),
    }
}

/// The response code of a refusal.
fn code_of(refusal: &Refusal) -> ResponseCode {
    match refusal {
        Refusal::UnknownCode(_)
        | Refusal::NotServed(_)
        | Refusal::Elsewhere(..)
        | Refusal::Unneeded(..) => ResponseCode::RequestCodeNotSupported,
        Refusal::NotMaster(code, _)
        | Refusal::Closed(code, _)
        | Refusal::TermIsOver(code)
        | Refusal::NotPassedOn { code, .. } => at_replica(*code),
        Refusal::Unconfirmed(_) => ResponseCode::SystemBusy,
        Refusal::TooFew(_) => ResponseCode::ServiceNotAvailable,
        Refusal::NotPassed(_) => ResponseCode::NoPermission,
        Refusal::User(refusal) => of_user(refusal),
        Refusal::Late(error) => of_append(error),
        Refusal::Incomplete(_) | Refusal::Fields(_) => ResponseCode::SystemError,
        Refusal::Form(refusal) => of_form(refusal),
        Refusal::Send(refusal) => of_send(refusal),
        Refusal::SendBack(refusal) => of_send_back(refusal),
        Refusal::Pull(refusal) => of_pull(refusal),
        Refusal::LookUp(refusal) => of_look_up(refusal),
        Refusal::Recall(refusal) => of_recall(refusal),
        Refusal::Client(refusal) => of_client(refusal),
        Refusal::Offset(refusal) => of_offset(refusal),
        Refusal::Reset(refusal) => of_reset(refusal),
        Refusal::Topic(refusal) => of_topic_refusal(refusal),
        Refusal::Group(refusal) => of_group_refusal(refusal),
        Refusal::GroupMaster(refusal) => of_group_master(refusal),
        Refusal::Config(refusal) => of_config(refusal),
        Refusal::Relay(refusal) => of_relay(refusal),
        Refusal::Backup(refusal) => of_backup(refusal),
        Refusal::End(refusal) => of_end(refusal),
        Refusal::Resume(refusal) => of_resume(refusal),
        Refusal::Statistics(_) | Refusal::Retention(_) => ResponseCode::SystemError,
    }
}

/// apache/rocketmq `AdminBrokerProcessor.handleAuthException` answers 16 whatever is wrong; its `ResponseCode` has a code for some of it.
fn of_user(refusal: &UserRefusal) -> ResponseCode {
    match refusal {
        UserRefusal::Blank | UserRefusal::Body => ResponseCode::InvalidParameter,
        UserRefusal::Unknown(_) => ResponseCode::UserNotExist,
        UserRefusal::OnlySuper | UserRefusal::OwnRules(_) => ResponseCode::NoPermission,
        UserRefusal::Configured(_) => ResponseCode::IllegalOperation,
        UserRefusal::Users(error) => match error {
            UsersError::User(_)
            | UsersError::Acl(_)
            | UsersError::Resource(_)
            | UsersError::TooManyEntries { .. }
            | UsersError::TooLarge { .. } => ResponseCode::InvalidParameter,
            UsersError::Exists(_) => ResponseCode::IllegalOperation,
            UsersError::Unknown(_) => ResponseCode::UserNotExist,
            UsersError::NoAcl(_) | UsersError::NoEntry { .. } => ResponseCode::PolicyNotExist,
            UsersError::TooMany(_) | UsersError::Seal(_) => ResponseCode::SystemError,
            UsersError::Store(error) => of_settings(error),
        },
    }
}

fn of_form(refusal: &FormRefusal) -> ResponseCode {
    match refusal {
        FormRefusal::Client(..)
        | FormRefusal::Settings(_)
        | FormRefusal::IndexType(_)
        | FormRefusal::Encode(_) => ResponseCode::SystemError,
        FormRefusal::Admin(..) | FormRefusal::Negative { .. } | FormRefusal::FilterType(_) => {
            ResponseCode::InvalidParameter
        }
    }
}

fn of_relay(refusal: &RelayRefusal) -> ResponseCode {
    match refusal {
        RelayRefusal::NoAnswer { .. } => ResponseCode::ConsumeMsgTimeout,
        RelayRefusal::MessageId
        | RelayRefusal::Message(_)
        | RelayRefusal::Interrupted(_)
        | RelayRefusal::OtherProtocol(_)
        | RelayRefusal::NotAsked { .. } => ResponseCode::SystemError,
    }
}

fn of_backup(refusal: &BackupRefusal) -> ResponseCode {
    match refusal {
        BackupRefusal::Off => ResponseCode::NoPermission,
        BackupRefusal::Busy(_) => ResponseCode::SystemBusy,
        BackupRefusal::Gone { .. } => ResponseCode::QueryNotFound,
        BackupRefusal::Order { .. } | BackupRefusal::Outside { .. } => {
            ResponseCode::InvalidParameter
        }
        BackupRefusal::Snapshot(_) => ResponseCode::SystemError,
        BackupRefusal::Read(error) => of_read(error),
    }
}

/// The code of a request that only masters serve, at a replica.
fn at_replica(code: RequestCode) -> ResponseCode {
    match code {
        // apache/rocketmq `SendMessageProcessor.rejectRequest`: producers try another broker, and consumers send a retry by themselves.
        RequestCode::SendMessage
        | RequestCode::SendMessageV2
        | RequestCode::SendBatchMessage
        | RequestCode::ConsumerSendMsgBack => ResponseCode::SystemBusy,
        // apache/rocketmq `AdminBrokerProcessor.validateSlave`.
        _ => ResponseCode::SystemError,
    }
}

fn of_send(refusal: &SendRefusal) -> ResponseCode {
    match refusal {
        // Enough members are in sync soon, or never: Java producers try 14 as often as the code 1 of apache/rocketmq
        // `PutMessageStatus.IN_SYNC_REPLICAS_NOT_ENOUGH`, and rmq-client tries for longer.
        SendRefusal::Stopping | SendRefusal::TooFew(_) => ResponseCode::ServiceNotAvailable,
        SendRefusal::NotPassed(_)
        | SendRefusal::Forbidden(_)
        | SendRefusal::TopicForbidden(_)
        | SendRefusal::HalfForbidden(_) => ResponseCode::NoPermission,
        // Producers try another broker.
        SendRefusal::TooManyHalf(_) => ResponseCode::SystemBusy,
        SendRefusal::Settings(error) => of_settings(error),
        // Producers try another broker, whose quota is its own. They would not try 215 again.
        SendRefusal::Quota { .. } => ResponseCode::SystemBusy,
        // Java producers try 1 and 16 again at other brokers, which would refuse the message too.
        SendRefusal::BodyTooLarge(_)
        | SendRefusal::ReconsumeTimes(_)
        | SendRefusal::BatchOfRetries
        | SendRefusal::BatchDamaged { .. }
        | SendRefusal::BatchEmpty => ResponseCode::MessageIllegal,
        SendRefusal::Property(refusal) => of_property(refusal),
        SendRefusal::NoQueue { .. } | SendRefusal::TopicName(_) => ResponseCode::InvalidParameter,
        SendRefusal::NoTopic { .. } => ResponseCode::TopicNotExist,
        SendRefusal::Topic(error) => of_topic(error),
        SendRefusal::Group(NoGroup { error, .. }) => of_group(error),
        SendRefusal::WithoutQueue(_) | SendRefusal::NoDelayTopic | SendRefusal::Defect(_) => {
            ResponseCode::SystemError
        }
        // The message has no place. Never code 10: clients take that for stored, and want to read where.
        SendRefusal::Store(error) => of_append(error),
    }
}

fn of_property(refusal: &PropertyRefusal) -> ResponseCode {
    match refusal {
        PropertyRefusal::NotUnderstood { .. }
        | PropertyRefusal::NotThere(_)
        | PropertyRefusal::InBatch
        | PropertyRefusal::HalfDelayed
        | PropertyRefusal::OtherType { .. }
        | PropertyRefusal::NoKey(_)
        | PropertyRefusal::TimerTooFar { .. }
        | PropertyRefusal::TooLong(_)
        | PropertyRefusal::NoRoom { .. } => ResponseCode::MessageIllegal,
        PropertyRefusal::Further(error) => match error {
            LightError::Off
            | LightError::Name { .. }
            | LightError::Twice(_)
            | LightError::TooMany(_) => ResponseCode::MessageIllegal,
            // apache/rocketmq `SendMessageProcessor`. Another broker may have fewer.
            LightError::Exceeded { .. } => ResponseCode::SystemError,
            LightError::Read(error) => of_read(error),
        },
    }
}

/// apache/rocketmq `EndTransactionProcessor`: what does not fit the half message is 1.
fn of_end(refusal: &EndRefusal) -> ResponseCode {
    match refusal {
        EndRefusal::Kind(_) | EndRefusal::Negative { .. } => ResponseCode::InvalidParameter,
        EndRefusal::NotOpen { .. }
        | EndRefusal::Group { .. }
        | EndRefusal::Offset { .. }
        | EndRefusal::WithoutQueue(_)
        | EndRefusal::Damaged(_) => ResponseCode::SystemError,
        EndRefusal::NoTopic { .. } => ResponseCode::TopicNotExist,
        EndRefusal::TooFew(_) => ResponseCode::ServiceNotAvailable,
        EndRefusal::Read { error, .. } => of_read(error),
        EndRefusal::Append(error) => of_append(error),
        EndRefusal::Settings(error) => of_settings(error),
    }
}

/// apache/rocketmq `AdminBrokerProcessor.resumeCheckHalfMessage` answers 1 whatever is wrong.
fn of_resume(refusal: &ResumeRefusal) -> ResponseCode {
    match refusal {
        ResumeRefusal::MessageId(_)
        | ResumeRefusal::Unknown(_)
        | ResumeRefusal::Damaged(_)
        | ResumeRefusal::Interrupted(_) => ResponseCode::SystemError,
        ResumeRefusal::TooMany(_) => ResponseCode::SystemBusy,
        ResumeRefusal::Read { error, .. } => of_read(error),
        ResumeRefusal::Append(error) => of_append(error),
        ResumeRefusal::Settings(error) => of_settings(error),
    }
}

fn of_send_back(refusal: &SendBackRefusal) -> ResponseCode {
    match refusal {
        SendBackRefusal::TooFew(_) => ResponseCode::ServiceNotAvailable,
        SendBackRefusal::NotPassed(_) | SendBackRefusal::Forbidden(_) => ResponseCode::NoPermission,
        SendBackRefusal::Group(NoGroup { error, .. }) => of_group(error),
        SendBackRefusal::Read { .. }
        | SendBackRefusal::Negative(_)
        | SendBackRefusal::Damaged(_)
        | SendBackRefusal::WithoutQueue(_) => ResponseCode::SystemError,
        SendBackRefusal::Topic(error) => of_topic(error),
        SendBackRefusal::Store(error) => of_append(error),
    }
}

// Codes of apache/rocketmq `RecallMessageProcessor`.
fn of_recall(refusal: &RecallRefusal) -> ResponseCode {
    match refusal {
        RecallRefusal::Off => ResponseCode::NoPermission,
        RecallRefusal::Forbidden(_) | RecallRefusal::TooFew(_) => ResponseCode::ServiceNotAvailable,
        RecallRefusal::NoTopic(_) => ResponseCode::TopicNotExist,
        RecallRefusal::Handle { .. }
        | RecallRefusal::OtherTopic(_)
        | RecallRefusal::OtherBroker(_)
        | RecallRefusal::Time(_)
        | RecallRefusal::NotFound => ResponseCode::IllegalOperation,
        RecallRefusal::Read(error) => of_read(error),
        RecallRefusal::Store(SettingsError::Append(error)) => of_append(error),
        RecallRefusal::Store(_) | RecallRefusal::Interrupted(_) => ResponseCode::SystemError,
    }
}

fn of_pull(refusal: &PullRefusal) -> ResponseCode {
    match refusal {
        PullRefusal::Broker(_)
        | PullRefusal::Group(_)
        | PullRefusal::Topic(_)
        | PullRefusal::Broadcast(_)
        | PullRefusal::Subscription { .. } => ResponseCode::NoPermission,
        PullRefusal::NoGroup { error, .. } => of_group(error),
        PullRefusal::GroupDeleted(_) => ResponseCode::SubscriptionGroupNotExist,
        PullRefusal::NoTopic(_) => ResponseCode::TopicNotExist,
        PullRefusal::NoQueue { .. } => ResponseCode::InvalidParameter,
        PullRefusal::NoClient(_) | PullRefusal::NoSubscription { .. } => {
            ResponseCode::SubscriptionNotExist
        }
        PullRefusal::NotLatest { .. } => ResponseCode::SubscriptionNotLatest,
        PullRefusal::Filter(error) => of_filter(error),
        // apache/rocketmq `PullMessageProcessor.rejectRequest`.
        PullRefusal::Busy(_) | PullRefusal::AtReplica | PullRefusal::ColdReads { .. } => {
            ResponseCode::SystemBusy
        }
        // Java consumers ask again after 20 ms; after any other code they wait for 3 s.
        PullRefusal::Quota { .. } => ResponseCode::FlowControl,
    }
}

fn of_client(refusal: &ClientRefusal) -> ResponseCode {
    match refusal {
        ClientRefusal::NoClientId
        | ClientRefusal::TooMany(_)
        | ClientRefusal::NoConsumer(_)
        | ClientRefusal::NoMember { .. }
        | ClientRefusal::NoProducers(_) => ResponseCode::SystemError,
        ClientRefusal::NotOnline(_) => ResponseCode::ConsumerNotOnline,
        ClientRefusal::Subscription { error, .. } | ClientRefusal::Filter(error) => {
            of_filter(error)
        }
        ClientRefusal::Empty(_) | ClientRefusal::NegativeQueue { .. } => {
            ResponseCode::InvalidParameter
        }
    }
}

fn of_offset(refusal: &OffsetRefusal) -> ResponseCode {
    match refusal {
        OffsetRefusal::NotFound { .. } => ResponseCode::QueryNotFound,
        OffsetRefusal::NoGroup(_) => ResponseCode::SubscriptionGroupNotExist,
        OffsetRefusal::NoTopic(_) | OffsetRefusal::NoTopicYet(_) => ResponseCode::TopicNotExist,
        OffsetRefusal::NoQueue { .. } => ResponseCode::InvalidParameter,
        OffsetRefusal::Negative(_) | OffsetRefusal::TooMany { .. } => ResponseCode::SystemError,
        OffsetRefusal::NotStored(error) => of_progress(error),
        OffsetRefusal::Read(error) => of_read(error),
    }
}

fn of_look_up(refusal: &LookUpRefusal) -> ResponseCode {
    match refusal {
        LookUpRefusal::Negative(_) => ResponseCode::SystemError,
        LookUpRefusal::NothingFound | LookUpRefusal::TagNotFound { .. } => {
            ResponseCode::QueryNotFound
        }
        LookUpRefusal::Read(_, error) => of_read(error),
    }
}

fn of_reset(refusal: &ResetRefusal) -> ResponseCode {
    match refusal {
        ResetRefusal::NoTopic(_) => ResponseCode::TopicNotExist,
        ResetRefusal::NoGroup(_) => ResponseCode::SubscriptionGroupNotExist,
        ResetRefusal::Destination(_) => ResponseCode::InvalidParameter,
        ResetRefusal::OutsideOfQueue { .. }
        | ResetRefusal::NoQueue { .. }
        | ResetRefusal::Interrupted(_) => ResponseCode::SystemError,
        ResetRefusal::Read(error) => of_read(error),
        ResetRefusal::Store(error) => of_settings(error),
    }
}

fn of_topic_refusal(refusal: &TopicRefusal) -> ResponseCode {
    match refusal {
        TopicRefusal::Attribute(_)
        | TopicRefusal::AttributeOf { .. }
        | TopicRefusal::Blank
        | TopicRefusal::System(_) => ResponseCode::InvalidParameter,
        TopicRefusal::NotHere(_) | TopicRefusal::Unknown(_) => ResponseCode::TopicNotExist,
        TopicRefusal::NoQueue { .. } | TopicRefusal::Interrupted(_) => ResponseCode::SystemError,
        TopicRefusal::Topic(error) => of_topic(error),
    }
}

fn of_group_refusal(refusal: &GroupRefusal) -> ResponseCode {
    match refusal {
        GroupRefusal::Unknown(_) => ResponseCode::SubscriptionGroupNotExist,
        GroupRefusal::Group(error) | GroupRefusal::NotHere { error, .. } => of_group(error),
        GroupRefusal::Retries(error) => of_topic(error),
    }
}

fn of_group_master(refusal: &GroupMasterRefusal) -> ResponseCode {
    match refusal {
        GroupMasterRefusal::Slot(_) | GroupMasterRefusal::Number { .. } => {
            ResponseCode::InvalidParameter
        }
        GroupMasterRefusal::FixedRoles => ResponseCode::NoPermission,
        GroupMasterRefusal::Election(error) => match error {
            RequestError::Place(_) => ResponseCode::ServiceNotAvailable,
            RequestError::NoRecord | RequestError::AskMember(_) | RequestError::NoMaster(_) => {
                ResponseCode::SystemError
            }
            RequestError::Busy(_) | RequestError::Contended => ResponseCode::SystemBusy,
            RequestError::NoMember(..)
            | RequestError::NotInSync(..)
            | RequestError::LossNotAccepted
            | RequestError::Number => ResponseCode::InvalidParameter,
        },
    }
}

fn of_config(refusal: &ConfigRefusal) -> ResponseCode {
    match refusal {
        ConfigRefusal::NotChangeable { .. } => ResponseCode::NoPermission,
        ConfigRefusal::Value(_) | ConfigRefusal::NoFlag { .. } => ResponseCode::InvalidParameter,
        ConfigRefusal::Read(error) => of_read(error),
        ConfigRefusal::PermissionNotKept { error, .. } => of_settings(error),
    }
}

/// The code for a message that was not stored, or not flushed.
pub(crate) fn of_append(error: &AppendError) -> ResponseCode {
    match error {
        AppendError::BodyTooLarge { .. }
        | AppendError::PropertiesTooLarge { .. }
        | AppendError::TopicTooLong { .. }
        | AppendError::RecordTooLarge { .. } => ResponseCode::MessageIllegal,
        // Appended, and perhaps there after a restart, but not flushed.
        AppendError::NotFlushed { .. } => ResponseCode::FlushDiskTimeout,
        // apache/rocketmq `PutMessageStatus`: stored, and not everywhere.
        AppendError::NotReplicated { is_away: true, .. } => ResponseCode::SlaveNotAvailable,
        AppendError::NotReplicated { is_away: false, .. } => ResponseCode::FlushSlaveTimeout,
        _ => ResponseCode::ServiceNotAvailable,
    }
}

/// The code for settings and progress that are not stored.
fn of_progress(error: &AppendError) -> ResponseCode {
    match error {
        // "Stored, but less safely than configured" is said of messages only.
        AppendError::NotFlushed { .. } | AppendError::NotReplicated { .. } => {
            ResponseCode::ServiceNotAvailable
        }
        error => of_append(error),
    }
}

fn of_settings(error: &SettingsError) -> ResponseCode {
    match error {
        SettingsError::Append(error) => of_progress(error),
        SettingsError::Read(_) => ResponseCode::ServiceNotAvailable,
        SettingsError::Key { .. } | SettingsError::Value { .. } => ResponseCode::InvalidParameter,
        SettingsError::Internal { .. } => ResponseCode::SystemError,
    }
}

fn of_topic(error: &TopicError) -> ResponseCode {
    match error {
        TopicError::Name(_)
        | TopicError::Light(_)
        | TopicError::Queues { .. }
        | TopicError::Perm { .. }
        | TopicError::Compacted(_)
        | TopicError::System(_) => ResponseCode::InvalidParameter,
        TopicError::TooMany(_) => ResponseCode::SystemError,
        TopicError::Read(_) => ResponseCode::ServiceNotAvailable,
        TopicError::Store(error) => of_settings(error),
    }
}

fn of_group(error: &GroupError) -> ResponseCode {
    match error {
        GroupError::Name(_) | GroupError::Attribute(_) | GroupError::Field { .. } => {
            ResponseCode::InvalidParameter
        }
        GroupError::Unknown(_) => ResponseCode::SubscriptionGroupNotExist,
        GroupError::TooMany(_) => ResponseCode::SystemError,
        GroupError::Store(error) => of_settings(error),
    }
}

fn of_filter(error: &FilterError) -> ResponseCode {
    match error {
        FilterError::TooLong { .. } | FilterError::Syntax(_) => {
            ResponseCode::SubscriptionParseFailed
        }
        FilterError::Type(_) | FilterError::Off | FilterError::Class => ResponseCode::SystemError,
    }
}

fn of_read(_error: &ReadError) -> ResponseCode {
    // Clients of the original know this code for every failed look-up.
    ResponseCode::SystemError
}
