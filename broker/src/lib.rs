//! The broker: stores messages and gives them to consumers, in the protocol of RocketMQ.
//!
//! A library first: [`BrokerServer::start`] runs one in the caller's process, with the clock and the file system passed in. The
//! binary `rmq-broker` is a thin shell around it.

#[cfg(test)]
extern crate self as rmq_broker;

mod access;
mod admin;
mod attributes;
mod audit;
mod backups;
mod broker;
mod clients;
mod clock_watch;
mod config;
mod data;
mod delay;
mod filter;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod groups;
mod handlers;
mod identity;
mod kept;
mod light;
mod limits;
mod link;
mod listeners;
mod lives;
mod locks;
mod looks;
mod management;
mod message_type;
mod messages;
mod metrics;
mod offline;
mod offsets;
mod progress;
mod promote;
mod quota;
mod recovery;
mod registration;
mod reply;
mod requester;
mod requests;
mod retention;
mod role;
mod router;
mod secrets;
mod server;
mod service;
mod sessions;
mod start;
mod stats;
mod tables;
mod tasks;
mod tls;
mod topics;
mod transactions;
mod users;
mod waiters;
mod work;

pub use listeners::Listeners;
pub use metrics::{METRIC_LABELS, metric_families};
pub use offline::store_config;
pub use requests::{RequestRow, Roles, Served, request_table};
pub use rmq_config::{
    AckMode, BrokerConfig, ConfigError, Configuration, Election, Flush, HiddenText,
};
pub use server::{BrokerServer, RunningBroker};
pub use start::{Deps, StartError};
