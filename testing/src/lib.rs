//! Tests against the real thing: name servers and brokers in the test's own process, on ports of their own, with a clock to move.
//!
//! ```
//! use std::time::Duration;
//! use rmq_testing::TestCluster;
//! use rmq_testing::client::Message;
//!
//! # struct Doc;
//! #[rmq_testing::test]
//! async fn a_reminder_comes_after_ten_minutes(cluster: TestCluster) {
//!     cluster.topic("reminders").create().await;
//!     let later = Message::new("reminders", "call back").deliver_after(Duration::from_secs(600));
//!     cluster.client().await.producer().send(later).await.unwrap();
//!     cluster.topic("reminders").assert_bodies(&[]).await;
//!     cluster.advance(Duration::from_secs(600));
//!     cluster.topic("reminders").assert_bodies(&["call back"]).await;
//! }
//! # fn main() {}
//! ```
//!
//! Nothing is imitated: order, filters, retries and dead letters are those of the servers that run in production. A cluster is ready in
//! some tens of milliseconds and gone with its test.
#![deny(missing_docs)]

mod broker;
mod broker_group;
mod clock;
mod cluster;
mod group;
mod members;
mod name_server;
mod relay;
mod run;
mod topic;

pub use broker::BrokerHandle;
pub use clock::TestClock;
pub use cluster::{ClusterBuilder, TestCluster};
pub use group::GroupHandle;
pub use name_server::NameServerHandle;
pub use rmq_broker::{AckMode, BrokerConfig};
pub use run::run;
pub use topic::TopicHandle;

/// The client crate, in the version that fits.
pub use rmq_client as client;
/// Makes a test of an async function that takes a [`TestCluster`]. Arguments: `brokers = N`, `name_servers = N`, `replicas = N`; one of each without, and
/// no replica.
pub use rmq_testing_macros::test;
