//! The rules that `health`, `doctor`, `describe` and `wait` check.

pub(crate) mod brokers;
pub(crate) mod cluster;
pub(crate) mod groups;
pub(crate) mod members;
pub(crate) mod objects;
pub(crate) mod uses;
