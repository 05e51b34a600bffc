//! The operator: makes clusters of `NameServer`, `BrokerGroup`, `Topic` and `SubscriptionGroup` objects.
//!
//! Each kind is a folder with the same steps: fetch, validate, build, apply, rollout, status. What stands between reading and writing is
//! pure. Nothing is remembered between two looks at an object that cannot be read again from its status.

mod annotations;
mod apply;
mod broker_group;
mod build;
mod clusters;
mod conditions;
mod context;
mod controller;
mod error;
mod fetch;
mod keys;
mod lease;
mod listeners;
mod metrics;
#[cfg(test)]
mod metrics_page;
mod name_server;
mod observe;
mod server;
mod settings;
mod time;
mod watch;
mod yaml;

pub use annotations::{MANAGED, PAUSED, RESTART, SKIP_DRAIN};
pub use controller::{Options, run};
pub use error::Error;
pub use metrics::metric_families;

/// The definitions of all kinds as one YAML stream.
#[must_use]
pub fn definitions() -> String {
    let all = rmq_crds::definitions();
    let texts: Vec<String> = all.iter().map(yaml::write).collect();
    format!("---\n{}", texts.join("---\n"))
}
