//! The operator: makes clusters of `NameServer`, `BrokerGroup`, `Topic` and `SubscriptionGroup` objects.
//!
//! Each kind is a folder. One look at an object sees, decides and does; decisions are pure. What is remembered between two looks can be
//! found again by the next ones.

mod annotations;
mod apply;
mod broker_group;
mod clusters;
mod conditions;
mod context;
mod controller;
mod credentials;
mod elections;
mod error;
mod events;
mod fetch;
mod forms;
mod invalid;
mod keys;
mod lease;
mod metrics;
#[cfg(test)]
mod metrics_page;
mod name_server;
mod objects;
mod observe;
mod queues;
mod requeue;
mod run;
mod server;
mod settings;
mod signer;
mod status;
mod stores;
mod subscription_group;
mod time;
mod tls;
mod topic;
mod user;
mod watch;
mod watches;
mod wiring;
mod yaml;

pub use annotations::{MANAGED, PAUSED, RESTART, SKIP_DRAIN};
pub use error::Error;
pub use metrics::metric_families;
pub use run::{Options, run};

/// The definitions of all kinds as one YAML stream.
#[must_use]
pub fn definitions() -> String {
    let all = rmq_crds::definitions();
    let texts: Vec<String> = all.iter().map(yaml::write).collect();
    format!("---\n{}", texts.join("---\n"))
}
