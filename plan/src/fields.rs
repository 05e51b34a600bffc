//! The settings of a topic or a group as named, typed values: what plans compare.

use std::collections::BTreeMap;
use std::fmt;

use rmq_crds::{MessageType, Permission, QuotaLimit};
use serde::{Serialize, Serializer};

/// The settings of one topic or group.
pub(crate) type Fields = BTreeMap<Field, Value>;

/// A setting. The order is that of the names in manifests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// An attribute, by its name at the broker.
    Attribute(String),
    /// Whether a group may consume in broadcast mode.
    Broadcast,
    /// Whether a group may consume.
    Consume,
    /// Whether a new member of a group begins at the first message.
    ConsumeFromMin,
    /// Minutes that a group may hold a message.
    ConsumeTimeoutMinutes,
    /// The kind of a topic's messages.
    MessageType,
    /// Whether a group consumes in order.
    Ordered,
    /// What clients may do with a topic.
    Permission,
    /// Queues of a topic that are written.
    Queues,
    /// A limit of what clients may send to a topic, or a group is given.
    Quota(QuotaLimit),
    /// Queues of a topic that are read.
    ReadQueues,
    /// How often a message is given to a group again.
    RetryMaxAttempts,
    /// Queues of a group's retry topic.
    RetryQueues,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attribute(name) => return write!(f, "attributes.{name}"),
            Self::Quota(limit) => return write!(f, "quota.{}", limit.name()),
            Self::Broadcast => "broadcast",
            Self::Consume => "consume",
            Self::ConsumeFromMin => "consumeFromMin",
            Self::ConsumeTimeoutMinutes => "consumeTimeoutMinutes",
            Self::MessageType => "messageType",
            Self::Ordered => "ordered",
            Self::Permission => "permission",
            Self::Queues => "queues",
            Self::ReadQueues => "readQueues",
            Self::RetryMaxAttempts => "retry.maxAttempts",
            Self::RetryQueues => "retry.queues",
        })
    }
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count.
    Number(i32),
    /// Yes or no.
    Flag(bool),
    /// What clients may do.
    Permission(Permission),
    /// A kind of messages.
    MessageType(MessageType),
    /// The value of an attribute.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Permission(permission) => f.write_str(permission.name()),
            Self::MessageType(kind) => f.write_str(kind.name()),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// An attribute of a topic or a group as a field. A quota that is no number is shown as the broker has it.
pub(crate) fn of_attribute(name: &str, value: &str) -> (Field, Value) {
    let limit = QuotaLimit::of_attribute(name).filter(|_| value.parse::<i64>().is_ok());
    let field = match limit {
        Some(limit) => Field::Quota(limit),
        None => Field::Attribute(name.to_owned()),
    };
    (field, Value::Text(value.to_owned()))
}

impl Value {
    /// Whether clients lose something when a setting changes from `self` to `new`.
    pub(crate) fn is_more_than(&self, new: &Self, field: &Field) -> bool {
        match (field, self, new) {
            (
                Field::Queues | Field::ReadQueues | Field::RetryMaxAttempts,
                Self::Number(old),
                Self::Number(new),
            ) => new < old,
            (Field::Permission, Self::Permission(old), Self::Permission(new)) => {
                let (old, new) = (old.read_write(), new.read_write());
                (old.0 && !new.0) || (old.1 && !new.1)
            }
            (Field::Consume | Field::Broadcast, Self::Flag(old), Self::Flag(new)) => *old && !new,
            _ => false,
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_the_order_of_their_names() {
        let all = Fields::from(
            [
                Field::RetryQueues,
                Field::RetryMaxAttempts,
                Field::ReadQueues,
                Field::Quota(QuotaLimit::Messages),
                Field::Quota(QuotaLimit::Bytes),
                Field::Queues,
                Field::Permission,
                Field::Ordered,
                Field::MessageType,
                Field::ConsumeTimeoutMinutes,
                Field::ConsumeFromMin,
                Field::Consume,
                Field::Broadcast,
                Field::Attribute("b".to_owned()),
                Field::Attribute("a".to_owned()),
            ]
            .map(|field| (field, Value::Flag(true))),
        );
        let names: Vec<String> = all.keys().map(Field::to_string).collect();
        assert_eq!(names.len(), 15);
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn only_less_for_clients_is_a_loss() {
        let number = Value::Number;
        let permission = Value::Permission;
        let lost = |field: &Field, old: Value, new: Value| old.is_more_than(&new, field);
        assert!(lost(&Field::Queues, number(8), number(4)));
        assert!(!lost(&Field::Queues, number(4), number(8)));
        // A number of another setting takes nothing away.
        assert!(!lost(&Field::RetryQueues, number(8), number(4)));
        assert!(lost(&Field::Consume, Value::Flag(true), Value::Flag(false)));
        assert!(!lost(
            &Field::Consume,
            Value::Flag(false),
            Value::Flag(true)
        ));
        assert!(!lost(
            &Field::Ordered,
            Value::Flag(true),
            Value::Flag(false)
        ));
        for (old, new, is_lost) in [
            (Permission::ReadWrite, Permission::ReadOnly, true),
            (Permission::ReadOnly, Permission::WriteOnly, true),
            (Permission::ReadOnly, Permission::ReadWrite, false),
            (Permission::Deny, Permission::WriteOnly, false),
        ] {
            let found = lost(&Field::Permission, permission(old), permission(new));
            assert_eq!(found, is_lost, "{old:?} {new:?}");
        }
    }
}
