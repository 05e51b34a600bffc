//! Sizes that the broker keeps to whatever a client asks. Those that a user may want otherwise are settings; [`Limits`] carries them.

use rmq_config::BrokerConfig;
use rmq_protocol::limits::FRAME_BYTES_MAX;
use rmq_protocol::message::{RECORD_CRC_BYTES, properties};

/// Bytes in one answer to a pull when the client does not say.
pub(crate) const PULL_BYTES_DEFAULT: usize = 256 * 1024;
/// Bytes that later copies of a message may add to its properties and its topic: `RETRY_TOPIC`, `ORIGIN_MESSAGE_ID`, `REAL_TOPIC`, the
/// stamp of its delay and the rest, with the longest names, and what Java consumers add that send a retry themselves. A message that
/// leaves less room could never be given back.
pub(crate) const LATER_BYTES_MAX: usize = 1_024;
/// Longest property string of a message that is sent, with what the broker adds, bytes.
pub(crate) const SENT_BYTES_MAX: usize =
    properties::PROPERTIES_BYTES_MAX - RECORD_CRC_BYTES - LATER_BYTES_MAX;
/// Offsets of groups that are named as light queues: so many for each light queue that the broker may have.
pub(crate) const LIGHT_PAIRS_PER_QUEUE: usize = 4;
/// Index entries that one pull looks at: bounds the work of a filter that matches little.
pub(crate) const PULL_SCAN_MAX: usize = 2_000;
/// Queues of the broker that statistics are kept of one by one (how long sends and pulls took); more are not counted.
pub(crate) const QUEUE_ITEMS_MAX: usize = 50_000;
/// Queues that one scrape looks at for the age of the oldest message that a group has not confirmed; what comes after has no series.
pub(crate) const LAG_LOOKS_MAX: usize = 10_000;
/// Longest wait for a message, milliseconds.
pub(crate) const SUSPEND_MS_MAX: i64 = 120_000;
/// Longest time that a pull waits for the quota of its group before it is refused, milliseconds.
pub(crate) const QUOTA_HOLD_MS_MAX: i64 = 1_000;
/// Waiting pulls that are answered by the thread that brought the message; more are answered by tasks.
pub(crate) const ANSWER_IN_PLACE_MAX: usize = 32;
/// Messages that one look-up may bring (apache/rocketmq `MessageStoreConfig.maxMsgsNumBatch`).
pub(crate) const QUERY_MAX: usize = 64;
/// Messages that one look-up by unique key brings, whatever it asks for (`MessageStoreConfig.defaultQueryMaxNum`).
pub(crate) const QUERY_UNIQUE_MAX: i32 = 32;
/// Bytes of messages that one look-up by key brings, but for the first: the answer fits a frame.
pub(crate) const QUERY_BYTES_MAX: usize = 12 << 20;
/// One part in so many of the memory bound is for appended bytes that wait to be written.
pub(crate) const STAGED_SHARE: u64 = 8;
/// The same, at least, bytes.
pub(crate) const STAGED_BYTES_MIN: u64 = 4 << 20;

/// Bytes of a body, whatever is configured: the message goes out in a frame with its properties and a header.
pub(crate) const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - (64 << 10);

/// Memory of the control group or the machine, of which connections get a quarter by default.
fn machine_bytes() -> u64 {
    (rmq_transport::memory_bytes(0) as u64).saturating_mul(4)
}

/// Limits that are settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Topics of the broker.
    pub(crate) topics: usize,
    /// Queues of a topic.
    pub(crate) queues_per_topic: i32,
    /// Subscription groups of the broker.
    pub(crate) groups: usize,
    /// Users of the broker.
    pub(crate) users: usize,
    /// Entries of the rules of one user.
    pub(crate) acl_entries: usize,
    /// Clients of one group.
    pub(crate) clients_per_group: usize,
    /// Messages in one answer to a pull, whatever is asked.
    pub(crate) pull_messages: usize,
    /// Bytes in one answer to a pull, whatever is asked; the first message comes anyway.
    pub(crate) pull_bytes: usize,
    /// Bytes of a filter expression.
    pub(crate) expression_bytes: usize,
    /// Terms and levels of an SQL92 expression; `None`: there are no such filters.
    pub(crate) property_filter: Option<rmq_filter::Limits>,
    /// Messages count as in memory while the log behind them has at most so many bytes.
    pub(crate) read_memory_bytes: u64,
}

impl Limits {
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        Self {
            topics: config.topics_max,
            queues_per_topic: config.queues_per_topic_max,
            groups: config.groups_max,
            users: config.users_max,
            acl_entries: config.acl_entries_max,
            clients_per_group: config.clients_per_group_max,
            pull_messages: config.pull_messages_max,
            pull_bytes: config.pull_bytes_max,
            expression_bytes: config.expression_bytes_max,
            property_filter: config.enable_property_filter.then_some(rmq_filter::Limits {
                terms_max: config.expression_terms_max,
                depth_max: config.expression_depth_max,
            }),
            read_memory_bytes: (machine_bytes() as f64 * config.memory_read_ratio) as u64,
        }
    }
}
