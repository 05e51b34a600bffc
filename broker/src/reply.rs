//! The one table from errors to response codes. What a client does with a code decides about its choice: 17, 14, 1, 2, 16, 204, 205
//! make a Java producer try again, 10, 11 and 12 mean "stored, but less safely than configured".

use rmq_protocol::code::ResponseCode;
use rmq_store::{AppendError, FlushMode, ReadError, SettingsError};

use crate::groups::GroupError;
use crate::topics::TopicError;

/// The code for a message that was not stored, or not flushed.
pub(crate) fn of_append(error: &AppendError, flush: FlushMode) -> ResponseCode {
    match error {
        AppendError::BodyTooLarge { .. }
        | AppendError::PropertiesTooLarge { .. }
        | AppendError::TopicTooLong { .. }
        | AppendError::RecordTooLarge { .. } => ResponseCode::MessageIllegal,
        // Appended, and perhaps there after a restart, but not flushed.
        AppendError::Failed { .. } if flush == FlushMode::Sync => ResponseCode::FlushDiskTimeout,
        _ => ResponseCode::ServiceNotAvailable,
    }
}

/// The code for progress that is not stored.
pub(crate) fn of_progress(error: &AppendError) -> ResponseCode {
    of_append(error, FlushMode::default())
}

pub(crate) fn of_settings(error: &SettingsError) -> ResponseCode {
    match error {
        SettingsError::Append(error) => of_append(error, FlushMode::default()),
        SettingsError::Read(_) => ResponseCode::ServiceNotAvailable,
        SettingsError::Key { .. } | SettingsError::Value { .. } => ResponseCode::InvalidParameter,
        SettingsError::Internal { .. } => ResponseCode::SystemError,
    }
}

pub(crate) fn of_topic(error: &TopicError) -> ResponseCode {
    match error {
        TopicError::Name(_)
        | TopicError::Queues { .. }
        | TopicError::Perm { .. }
        | TopicError::System(_) => ResponseCode::InvalidParameter,
        TopicError::TooMany(_) => ResponseCode::SystemError,
        TopicError::Read(_) => ResponseCode::ServiceNotAvailable,
        TopicError::Store(error) => of_settings(error),
    }
}

pub(crate) fn of_group(error: &GroupError) -> ResponseCode {
    match error {
        GroupError::Name(_) | GroupError::Attribute(_) | GroupError::Field { .. } => {
            ResponseCode::InvalidParameter
        }
        GroupError::Unknown(_) => ResponseCode::SubscriptionGroupNotExist,
        GroupError::TooMany(_) => ResponseCode::SystemError,
        GroupError::Store(error) => of_settings(error),
    }
}

pub(crate) fn of_read(_error: &ReadError) -> ResponseCode {
    // Clients of the original know this code for every failed look-up.
    ResponseCode::SystemError
}
