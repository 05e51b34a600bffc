//! Why an operation of administrators is refused. Each front has its own table from these to its codes.

use rmq_config::ConfigError;
use rmq_election::driver::RequestError;
use rmq_election::place::REQUEST_BYTES_MAX;
use rmq_store::{ReadError, SettingsError};
use thiserror::Error;

use crate::attributes::AttributeError;
use crate::groups::GroupError;
use crate::topics::TopicError;
use crate::users::UsersError;
use crate::work::Interrupted;

/// Topics.
#[derive(Debug, Error)]
pub(crate) enum TopicRefusal {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// One of several topics.
    #[error("topic {topic}: {error}")]
    AttributeOf {
        topic: String,
        error: AttributeError,
    },
    #[error("The specified topic is blank.")]
    Blank,
    #[error("The topic[{0}] is conflict with system topic.")]
    System(String),
    #[error("No topic in this broker. topic: {0}")]
    NotHere(String),
    #[error("topic[{0}] not exist")]
    Unknown(String),
    #[error("the queue {topic}-{queue_id} of the topic is not exist!")]
    NoQueue { topic: String, queue_id: i32 },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Subscription groups.
#[derive(Debug, Error)]
pub(crate) enum GroupRefusal {
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The topic of the group's retries cannot be deleted.
    #[error(transparent)]
    Retries(#[from] TopicError),
    #[error("No group in this broker. group: {group}: {error}")]
    NotHere { group: String, error: GroupError },
    #[error("Group {0} not exist!")]
    Unknown(String),
}

/// The configuration.
#[derive(Debug, Error)]
pub(crate) enum ConfigRefusal {
    /// A setting that needs a restart, or that there is not.
    #[error("{error}; while the broker runs, only {changeable} can be changed")]
    NotChangeable {
        error: ConfigError,
        changeable: String,
    },
    /// A value that the setting does not take.
    #[error("{0}")]
    Value(ConfigError),
    #[error("{name} must be true or false, not {value:?}")]
    NoFlag { name: String, value: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "brokerPermission is {permission} now, and a restart of the broker would lose that: {error}"
    )]
    PermissionNotKept {
        permission: i32,
        error: SettingsError,
    },
}

/// What was never counted.
#[derive(Debug, Error)]
#[error("The stats <{name}> <{key}> not exist")]
pub(crate) struct NoStatistics {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// Another master.
#[derive(Debug, Error)]
pub(crate) enum GroupMasterRefusal {
    #[error("field member is {0}, and slots of members are 0 to 15")]
    Slot(i64),
    #[error(
        "field request has {length} bytes, and the number of a request has 1 to {REQUEST_BYTES_MAX}"
    )]
    Number { length: usize },
    #[error(
        "the roles of this group are fixed (election: static): to make another broker the master, stop the master, set brokerId 0 at that broker and start it again"
    )]
    FixedRoles,
    #[error("the request is not written down: {0}")]
    Election(#[from] RequestError),
}

/// Users and their rules.
#[derive(Debug, Error)]
pub(crate) enum UserRefusal {
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("The username is blank")]
    Blank,
    #[error(
        "the user cannot be read: it is not JSON with username, password, userType and userStatus"
    )]
    Body,
    #[error("The user is not exist: {0}")]
    Unknown(String),
    #[error("The super user can only be created, changed or deleted by a super user")]
    OnlySuper,
    #[error("user {0} cannot change the own rules; a super user can")]
    OwnRules(String),
    #[error(
        "user {0} is of the broker's configuration (initAuthenticationUser or innerClientAuthenticationCredentials), and stays as long as it is there"
    )]
    Configured(String),
}

impl UserRefusal {
    /// A part of the request that is not as it should be.
    pub(crate) fn of(error: impl Into<UsersError>) -> Self {
        Self::Users(error.into())
    }
}
