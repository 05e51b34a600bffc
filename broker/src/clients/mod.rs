//! Clients of the broker: who is there, and which queues the members of a group have locked. An operation here knows a client by its
//! [`Link`](crate::link::Link) only, whatever protocol it speaks.

pub(crate) mod heartbeat;
pub(crate) mod locks;
pub(crate) mod members;
pub(crate) mod refusal;
