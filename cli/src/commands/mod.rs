//! One module per verb: its options beside what it does.

pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod get;
pub(crate) mod lag;
pub(crate) mod offsets;
pub(crate) mod send;
pub(crate) mod tail;
pub(crate) mod version;
