//! Why a request is refused: what its operation says, or that the request is not as the protocol writes it. [`crate::reply`] has the
//! response codes.

use rmq_access::NotPassed;
use rmq_protocol::bodies::BodyError;
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::FieldError;
use rmq_store::{AppendError, ReadError};
use rmq_transport::{CallError, PeerCallError};

use crate::admin::refusal::{
    ConfigRefusal, GroupMasterRefusal, GroupRefusal, NoStatistics, TopicRefusal, UserRefusal,
};
use crate::backups::BackupRefusal;
use crate::clients::refusal::ClientRefusal;
use crate::group::member::TooFewInSync;
use crate::group::term::OVER;
use crate::messages::refusal::{
    LookUpRefusal, PullRefusal, RecallRefusal, SendBackRefusal, SendRefusal,
};
use crate::progress::refusal::{OffsetRefusal, ResetRefusal};
use crate::retention::ByHandError;
use crate::role::Role;
use crate::transactions::refusal::{EndRefusal, ResumeRefusal};

/// What a handler returns: it has answered, or will, or refuses the request.
pub(crate) type Handled = Result<(), Refusal>;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(" request type {0} not supported")]
    UnknownCode(i32),
    #[error(
        " request type {number} ({name}) not supported by this version of the broker",
        number = .0.as_i32(),
        name = .0.name()
    )]
    NotServed(RequestCode),
    #[error(
        " request type {number} ({name}) not supported by brokers; it is for {at}",
        number = .0.as_i32(),
        name = .0.name(),
        at = .1
    )]
    Elsewhere(RequestCode, &'static str),
    #[error(
        " request type {number} ({name}) not supported: {because}",
        number = .0.as_i32(),
        name = .0.name(),
        because = .1
    )]
    Unneeded(RequestCode, &'static str),
    #[error(
        "request type {number} ({name}) is served by the master of this broker's group, and this broker is a {role}; ask the master",
        number = .0.as_i32(),
        name = .0.name(),
        role = .1
    )]
    NotMaster(RequestCode, Role),
    #[error(
        "request type {number} ({name}) is served by the master of this broker's group, and this replica could not pass it on: {error}; ask the master, or ask again",
        number = .code.as_i32(),
        name = .code.name()
    )]
    NotPassedOn { code: RequestCode, error: CallError },
    #[error(
        "request type {number} ({name}) is for the master, and this broker is the {role}",
        number = .0.as_i32(),
        name = .0.name(),
        role = .1
    )]
    Closed(RequestCode, Role),
    #[error(
        "request type {number} ({name}) is for the master, and this broker is the master no more: {OVER}",
        number = .0.as_i32(),
        name = .0.name()
    )]
    TermIsOver(RequestCode),
    /// A change that is refused before it is begun.
    #[error(transparent)]
    TooFew(TooFewInSync),
    /// A change that is begun, and not confirmed in time.
    #[error("the change counts when it is confirmed: {0}")]
    Late(AppendError),
    #[error(
        "request type {number} ({name}) is not served yet: this replica was made from a snapshot, and its log has not come up to it; ask the master, or ask again later",
        number = .0.as_i32(),
        name = .0.name()
    )]
    Incomplete(RequestCode),
    #[error(
        "request type {number} ({name}) is not served yet: this broker did not stop cleanly, and its group has not confirmed all of its log again; ask again in a moment",
        number = .0.as_i32(),
        name = .0.name()
    )]
    Unconfirmed(RequestCode),
    /// Nobody knows who sent it, or they may not.
    #[error(transparent)]
    NotPassed(#[from] NotPassed),
    #[error(transparent)]
    User(#[from] UserRefusal),
    #[error(transparent)]
    Fields(#[from] FieldError),
    #[error(transparent)]
    Form(#[from] FormRefusal),
    #[error(transparent)]
    Send(#[from] SendRefusal),
    #[error(transparent)]
    SendBack(#[from] SendBackRefusal),
    #[error(transparent)]
    Pull(#[from] PullRefusal),
    #[error(transparent)]
    LookUp(#[from] LookUpRefusal),
    #[error(transparent)]
    Client(#[from] ClientRefusal),
    #[error(transparent)]
    Offset(#[from] OffsetRefusal),
    #[error(transparent)]
    Reset(#[from] ResetRefusal),
    #[error(transparent)]
    Recall(#[from] RecallRefusal),
    #[error(transparent)]
    Topic(#[from] TopicRefusal),
    #[error(transparent)]
    Group(#[from] GroupRefusal),
    #[error(transparent)]
    GroupMaster(#[from] GroupMasterRefusal),
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    #[error(transparent)]
    Statistics(#[from] NoStatistics),
    #[error(transparent)]
    Retention(#[from] ByHandError),
    #[error(transparent)]
    Backup(#[from] BackupRefusal),
    #[error(transparent)]
    Relay(#[from] RelayRefusal),
    #[error(transparent)]
    End(#[from] EndRefusal),
    #[error(transparent)]
    Resume(#[from] ResumeRefusal),
}

/// A request that is not as the protocol writes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormRefusal {
    /// A body of a client that cannot be read, and what it is.
    #[error("{0} cannot be read: {1}")]
    Client(&'static str, BodyError),
    /// A body of an administrator that cannot be read, and what it is.
    #[error("{0} cannot be read: {1}")]
    Admin(&'static str, BodyError),
    #[error("the settings cannot be read: {0}")]
    Settings(BodyError),
    #[error("field {field} is negative: {number}")]
    Negative { field: &'static str, number: i64 },
    #[error("field topicFilterType is {0:?}, neither SINGLE_TAG nor MULTI_TAG")]
    FilterType(String),
    #[error(
        "field indexType is {0:?}; messages are found by K (keys), U (unique keys) and T (tags)"
    )]
    IndexType(String),
    #[error("{0}")]
    Encode(serde_json::Error),
}

/// A question that the broker passes on to a client by the client's connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayRefusal {
    #[error("the message id is not one of this broker (offset message id)")]
    MessageId,
    #[error("the message cannot be read: {0}")]
    Message(ReadError),
    #[error("the request was not finished: {0}")]
    Interrupted(tokio::task::JoinError),
    #[error("the client {client_id} gave no answer: {error}")]
    NoAnswer {
        client_id: String,
        error: PeerCallError,
    },
    #[error(
        "the client {0} is connected by another protocol, which does not pass this question on"
    )]
    OtherProtocol(String),
    #[error("the client {client_id} cannot be asked: {error}")]
    NotAsked {
        client_id: String,
        error: PeerCallError,
    },
}
