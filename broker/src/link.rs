//! The connection of a client, in whatever protocol it speaks.

use std::any::Any;
use std::net::SocketAddr;

/// A client's connection. Cheap to share, usable from any thread.
pub(crate) trait Link: Any + std::fmt::Debug + Send + Sync {
    /// Unique among the connections of this process.
    fn id(&self) -> u64;
    fn remote_addr(&self) -> SocketAddr;
    /// The language of the client, by RocketMQ's name.
    fn language(&self) -> &'static str;
    /// The version of the client, as RocketMQ counts versions.
    fn version(&self) -> i32;
    /// Tells the client something. Whether it is on its way; a client that is gone needs no notice.
    fn notify(&self, notice: Notice<'_>) -> bool;
}

/// What clients are told without asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice<'a> {
    /// Members of the group came or went: the client looks again which queues are its own.
    MembersChanged { group: &'a str },
    /// The client says how a transaction ended that another member of its producer group, or the client itself, has begun.
    HowDidItEnd(&'a AskedHalf),
}

/// A half message that a producer is asked about.
#[derive(Debug)]
pub(crate) struct AskedHalf {
    pub(crate) queue_offset: i64,
    /// Where the half message is in the log.
    pub(crate) position: i64,
    pub(crate) unique_key: String,
    pub(crate) offset_message_id: String,
    pub(crate) broker_name: String,
    /// The message as a record of the topic that it is for.
    pub(crate) record: Vec<u8>,
}
