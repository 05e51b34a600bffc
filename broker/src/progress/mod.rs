//! How far groups are: the offsets at which they continue, what they have consumed, and the bounds of the queues that they read. An operation
//! here knows no frame, no response code and no connection.

pub(crate) mod bounds;
pub(crate) mod commit;
pub(crate) mod consumption;
pub(crate) mod refusal;
pub(crate) mod reset;
