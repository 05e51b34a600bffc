//! One module per verb: its options beside what it does.

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod cheat;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod dev;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod lag;
pub(crate) mod mqadmin;
pub(crate) mod offsets;
pub(crate) mod send;
pub(crate) mod set;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod version;
pub(crate) mod wait;
