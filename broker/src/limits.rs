//! Sizes that the broker keeps to whatever a client asks.

/// Topics of a broker.
pub(crate) const TOPICS_MAX: usize = 50_000;
/// Queues of a topic.
pub(crate) const QUEUES_PER_TOPIC_MAX: i32 = 1_024;
/// Subscription groups of a broker.
pub(crate) const GROUPS_MAX: usize = 20_000;
/// Clients of one group.
pub(crate) const CLIENTS_PER_GROUP_MAX: usize = 10_000;
/// Messages in one answer to a pull, whatever is asked.
pub(crate) const PULL_MESSAGES_MAX: usize = 1_024;
/// Bytes in one answer to a pull when the client does not say.
pub(crate) const PULL_BYTES_DEFAULT: usize = 256 * 1024;
/// Bytes in one answer to a pull, whatever is asked.
pub(crate) const PULL_BYTES_MAX: usize = 4 << 20;
/// Index entries that one pull looks at: bounds the work of a filter that matches little.
pub(crate) const PULL_SCAN_MAX: usize = 2_000;
/// Queues of the broker that statistics are kept of one by one (how long sends and pulls took); more are not counted.
pub(crate) const QUEUE_ITEMS_MAX: usize = 50_000;
/// Longest wait for a message, milliseconds.
pub(crate) const SUSPEND_MS_MAX: i64 = 120_000;
/// Waiting pulls that are answered by the thread that brought the message; more are answered by tasks.
pub(crate) const ANSWER_IN_PLACE_MAX: usize = 32;
/// Messages that one look-up by key may bring (apache/rocketmq `MessageStoreConfig.defaultQueryMaxNum` and twice that).
pub(crate) const QUERY_MAX: usize = 64;
/// Bytes of a filter expression.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 4_096;
