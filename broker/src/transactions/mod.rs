//! Transactions (apache/rocketmq `TransactionalMessageService`): a half message waits in `RMQ_SYS_TRANS_HALF_TOPIC`, where nobody reads it,
//! until its producer commits it or rolls it back. Where the producer does not, the broker asks the members of the producer group, and
//! parks the message when nobody answers for long.
//!
//! What is open is a [table](crate::tables::half) that the log feeds. A commit is one record: the message in its topic, which names the half
//! message. So it is committed and ended at once, or neither.

pub(crate) mod check;
pub(crate) mod end;
pub(crate) mod half;
pub(crate) mod list;
pub(crate) mod park;
pub(crate) mod refusal;
pub(crate) mod resume;
mod schedule;
pub(crate) mod state;
