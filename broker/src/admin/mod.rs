//! What administrators and tools ask of a broker: settings of topics and groups, its configuration, statistics. Shapes and texts as Apache
//! RocketMQ 5.5.0 answers. An operation here knows no frame, no response code and no connection.

pub(crate) mod backup;
pub(crate) mod cold;
pub(crate) mod config;
pub(crate) mod group_status;
pub(crate) mod groups;
pub(crate) mod maintenance;
pub(crate) mod queues;
pub(crate) mod refusal;
pub(crate) mod replication;
pub(crate) mod runtime;
pub(crate) mod statistics;
pub(crate) mod timers;
pub(crate) mod topics;
pub(crate) mod users;
