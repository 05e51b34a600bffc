//! Names of topics, groups, brokers, clusters and clients: validated once, cheap to clone, never confused with one another.
//! Rules and system names: `apache/rocketmq common/.../topic/TopicValidator.java`, `common/.../MixAll.java`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The topic whose settings unknown topics inherit.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where delayed messages wait.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Of benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Ends of half messages.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Notices of moved offsets.
pub const OFFSET_MOVED_EVENT_TOPIC: &str = "OFFSET_MOVED_EVENT";
/// Traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Timers.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Prefix of retry topics.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of dead-letter topics.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of system topics made by tools.
pub const SYS_PREFIX: &str = "%SYS%";
/// Prefix of light queues.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Prefix of system topics.
pub const RMQ_SYS_PREFIX: &str = "rmq_sys_";
/// Prefix of system topics, upper case.
pub const RMQ_SYS_PREFIX_UPPER: &str = "RMQ_SYS_";
/// Suffix of topics for replies to requests.
pub const REPLY_SUFFIX: &str = "_REPLY_TOPIC";
/// Prefix of system consumer groups.
pub const SYS_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// The group of tools that pull.
pub const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
/// The producer group inside clients.
pub const CLIENT_INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";

/// Longest topic name in bytes.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest retry or dead-letter topic in bytes.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name in bytes. Clients and the admin path of the original stop at 120.
pub const GROUP_BYTES_MAX: usize = 120;
/// Longest other name in bytes.
pub const NAME_BYTES_MAX: usize = 255;

const SYSTEM_TOPICS: &[&str] = &[
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT_TOPIC,
    "CHECKPOINT_TOPIC",
    TIMER_TOPIC,
];

const NOT_ALLOWED_SEND: &[&str] = &[
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT_TOPIC,
];

const SYSTEM_GROUPS: &[&str] = &[
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    TOOLS_GROUP,
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    CLIENT_INNER_PRODUCER_GROUP,
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

/// A name that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No characters.
    #[error("the {kind} name is blank")]
    Blank {
        /// `topic`, `group`, ...
        kind: &'static str,
    },
    /// Too long.
    #[error("the {kind} name has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// `topic`, `group`, ...
        kind: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A character that is not allowed.
    #[error(
        "the {kind} name {name:?} contains {character:?}; allowed are letters, digits, '%', '|', '-' and '_'"
    )]
    Character {
        /// `topic`, `group`, ...
        kind: &'static str,
        /// The name, cut to 64 characters.
        name: String,
        /// The first such character.
        character: char,
    },
}

#[allow(clippy::indexing_slicing, reason = "computed by the compiler")]
const fn allowed_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(byte as u8, b'%' | b'|' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9');
        byte += 1;
    }
    table
}
const ALLOWED: [bool; 256] = allowed_table();

#[allow(clippy::indexing_slicing, reason = "the table has every byte")]
fn is_allowed(byte: u8) -> bool {
    ALLOWED[usize::from(byte)]
}

fn check(kind: &'static str, name: &str, max: usize, plain: bool) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            kind,
            bytes: name.len(),
            max,
        });
    }
    let wrong = |character: &char| {
        if plain {
            !u8::try_from(*character).is_ok_and(is_allowed)
        } else {
            character.is_control()
        }
    };
    if plain && name.bytes().all(is_allowed) {
        return Ok(());
    }
    match name.chars().find(wrong) {
        Some(character) => Err(NameError::Character {
            kind,
            name: name.chars().take(64).collect(),
            character,
        }),
        None => Ok(()),
    }
}

/// Checks a topic's name without making one.
///
/// # Errors
/// When it is blank, too long or has a character that is not allowed.
pub fn validate_topic(name: &str) -> Result<(), NameError> {
    let derived = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
    check(
        "topic",
        name,
        if derived {
            RETRY_TOPIC_BYTES_MAX
        } else {
            TOPIC_BYTES_MAX
        },
        true,
    )
}

/// Checks a group's name without making one. Names up to 255 bytes are read; new groups are limited to [`GROUP_BYTES_MAX`].
///
/// # Errors
/// When it is blank, too long or has a character that is not allowed.
pub fn validate_group(name: &str) -> Result<(), NameError> {
    check("group", name, GROUP_BYTES_MAX, true)
}

/// Whether a topic belongs to the system; such topics can neither be created nor deleted by users.
#[must_use]
pub fn is_system_topic(name: &str) -> bool {
    SYSTEM_TOPICS.contains(&name)
        || name.starts_with(RMQ_SYS_PREFIX)
        || name.starts_with(RMQ_SYS_PREFIX_UPPER)
}

/// Whether clients may not send to a topic.
#[must_use]
pub fn is_send_forbidden(name: &str) -> bool {
    NOT_ALLOWED_SEND.contains(&name)
}

/// Whether a group belongs to the system.
#[must_use]
pub fn is_system_group(name: &str) -> bool {
    SYSTEM_GROUPS.contains(&name) || name.starts_with(SYS_GROUP_PREFIX)
}

/// Whether messages of a topic are retries.
#[must_use]
pub fn is_retry_topic(name: &str) -> bool {
    name.starts_with(RETRY_PREFIX)
}

/// Whether messages of a topic are dead letters.
#[must_use]
pub fn is_dlq_topic(name: &str) -> bool {
    name.starts_with(DLQ_PREFIX)
}

/// Where retries of a group go.
#[must_use]
pub fn retry_topic(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// Where dead letters of a group go.
#[must_use]
pub fn dlq_topic(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// Where the brokers of a cluster store replies to requests.
#[must_use]
pub fn reply_topic(cluster: &str) -> String {
    [cluster, REPLY_SUFFIX].concat()
}

/// The group of a retry topic.
#[must_use]
pub fn group_of_retry_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident($kind:literal, $check:expr);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name and keeps it.
            ///
            /// # Errors
            /// When the name is not allowed.
            pub fn parse(name: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(name)?;
                Ok(Self(Arc::from(name)))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::parse(name)
            }
        }
    )*};
}

names! {
    /// Name of a topic.
    TopicName("topic", validate_topic);
    /// Name of a producer or consumer group.
    GroupName("group", validate_group);
    /// Name of a broker group: a master and its replicas.
    BrokerName("broker", |name| check("broker", name, NAME_BYTES_MAX, false));
    /// Name of a cluster.
    ClusterName("cluster", |name| check("cluster", name, NAME_BYTES_MAX, false));
    /// Id of a client, such as `10.0.0.9@12345#98765`.
    ClientId("client", |name| check("client", name, NAME_BYTES_MAX, false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_the_rules() {
        for good in [
            "a",
            "Topic-1_x|y",
            "%RETRY%g",
            &"x".repeat(127),
            &retry_topic(&"g".repeat(200)),
        ] {
            assert!(validate_topic(good).is_ok(), "{good}");
        }
        assert_eq!(validate_topic(" "), Err(NameError::Blank { kind: "topic" }));
        assert_eq!(
            validate_topic(&"x".repeat(128)),
            Err(NameError::TooLong {
                kind: "topic",
                bytes: 128,
                max: 127
            })
        );
        for bad in ["a b", "a/b", "é", "a\u{1}"] {
            assert!(
                matches!(validate_topic(bad), Err(NameError::Character { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn system_names_are_known() {
        assert!(
            is_system_topic("TBW102")
                && is_system_topic("rmq_sys_anything")
                && !is_system_topic("orders")
        );
        assert!(is_send_forbidden("SCHEDULE_TOPIC_XXXX") && !is_send_forbidden("TBW102"));
        assert!(is_system_group("CID_RMQ_SYS_TRANS") && !is_system_group("g"));
        assert_eq!(group_of_retry_topic("%RETRY%g"), Some("g"));
        assert_eq!(dlq_topic("g"), "%DLQ%g");
    }

    #[test]
    fn broker_names_may_be_anything_printable() {
        assert!(BrokerName::parse("broker a.é").is_ok());
        assert!(BrokerName::parse("a\nb").is_err());
        assert_eq!(TopicName::parse("t").unwrap().as_str(), "t");
    }
}
