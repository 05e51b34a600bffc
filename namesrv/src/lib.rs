//! The name server: brokers say what they serve, clients ask who serves what.
//!
//! Nearly stateless: its tables are what brokers registered, and they register again every 30 s. Only key-value settings can be
//! kept in a file. Name servers never talk to each other.
//!
//! [`NameServer::start`] runs one inside any program; the binary `rmq-namesrv` is a thin shell around it.

mod access;
mod audit;
mod expiry;
mod handlers;
mod kv;
mod management;
mod metrics;
mod registry;
mod router;
mod server;

pub use metrics::metric_families;
pub use rmq_config::{ConfigError, Configuration, HiddenText, NameServerConfig};
pub use router::request_table;
pub use server::{Deps, NameServer, RunningNameServer, StartError};
