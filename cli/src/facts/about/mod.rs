//! Everything about one thing: what `describe` prints and `top` looks into. One file for each noun.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod description;
mod figures;
pub(crate) mod group;
pub(crate) mod message;
pub(crate) mod queue;
pub(crate) mod server;
pub(crate) mod subject;
pub(crate) mod topic;
