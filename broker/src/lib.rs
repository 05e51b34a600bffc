//! The broker: stores messages and gives them to consumers, in the protocol of RocketMQ.
//!
//! A library first: [`BrokerServer::start`] runs one in the caller's process, with the clock and the file system passed in. The
//! binary `rmq-broker` is a thin shell around it.

mod attributes;
mod audit;
mod broker;
mod clock_watch;
mod config;
mod copy;
mod delay;
mod filter;
mod groups;
mod handlers;
mod kept;
mod limits;
mod locks;
mod management;
mod metrics;
mod offsets;
mod recovery;
mod registration;
mod reply;
mod retention;
mod router;
mod service;
mod sessions;
mod stats;
mod tasks;
mod topics;
mod waiters;

pub use broker::{BrokerServer, Deps, RunningBroker, StartError};
pub use config::{BrokerConfig, ConfigError, ENVIRONMENT_PREFIX, Flush, environment_help};
pub use metrics::{METRIC_LABELS, metric_families};
