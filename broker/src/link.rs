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
    /// Tells the client something. A client that is gone needs no notice.
    fn notify(&self, notice: Notice<'_>);
}

/// What clients are told without asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice<'a> {
    /// Members of the group came or went: the client looks again which queues are its own.
    MembersChanged { group: &'a str },
}
