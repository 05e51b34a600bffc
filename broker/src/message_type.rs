//! Types of messages, and which of them a topic takes (apache/rocketmq `TopicMessageType`).

use std::collections::BTreeMap;

use crate::attributes::MESSAGE_TYPE;

/// The type of a message; of a topic those that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    Unspecified,
    Normal,
    Fifo,
    Delay,
    Transaction,
    Priority,
    Mixed,
}

impl MessageType {
    const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::Normal,
        Self::Fifo,
        Self::Delay,
        Self::Transaction,
        Self::Priority,
        Self::Mixed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Normal => "NORMAL",
            Self::Fifo => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
            Self::Priority => "PRIORITY",
            Self::Mixed => "MIXED",
        }
    }

    /// What the attributes of a topic say; `None`: nothing.
    pub(crate) fn of_topic(attributes: &BTreeMap<String, String>) -> Option<Self> {
        let value = attributes.get(MESSAGE_TYPE)?;
        Self::ALL.into_iter().find(|kind| kind.name() == value)
    }

    /// Whether a topic of this type takes such a message (apache/rocketmq `DefaultTopicMessageTypeValidator`).
    pub(crate) fn takes(self, message: Self) -> bool {
        self == Self::Mixed || self == message
    }
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_takes_its_own_type_or_all() {
        use MessageType::{Delay, Fifo, Mixed, Normal, Priority, Transaction, Unspecified};
        let messages = [Normal, Fifo, Delay, Transaction, Priority];
        for topic in messages {
            let taken = messages.into_iter().filter(|kind| topic.takes(*kind));
            assert_eq!(taken.collect::<Vec<_>>(), [topic]);
        }
        assert!(messages.into_iter().all(|kind| Mixed.takes(kind)));
        assert!(!messages.into_iter().any(|kind| Unspecified.takes(kind)));
    }

    #[test]
    fn topics_say_their_type_by_an_attribute() {
        for kind in MessageType::ALL {
            let attributes = BTreeMap::from([(MESSAGE_TYPE.to_owned(), kind.to_string())]);
            assert_eq!(MessageType::of_topic(&attributes), Some(kind));
        }
        assert_eq!(MessageType::of_topic(&BTreeMap::new()), None);
    }
}
