//! A client of RocketMQ-compatible clusters: send, pull, offsets, group membership and administration.
//!
//! ```no_run
//! # async fn hello() -> Result<(), rmq_client::Error> {
//! use rmq_client::{Client, Message};
//!
//! let client = Client::connect("rmq://localhost:9876").await?;
//! let receipt = client.producer().send(Message::new("orders", "hello")).await?;
//! println!("stored as {} in {}", receipt.message_id(), receipt.queue());
//! # Ok(()) }
//! ```
//!
//! Handles are cheap to clone and usable from any task; all clones share connections and routes. `await` gives a working handle or
//! an error. `Ok` of a send means that a broker stored the message, as safely as it is configured to. An [`Error`] says what failed,
//! where, whether trying again can help ([`Error::is_retryable`]) and the broker's own code.
//!
//! # Features
//!
//! `zlib`, `lz4` and `zstd` (compressed bodies), `credentials` (signed requests) and `signal` (`stop_signal`) are on by default;
//! `serde` (JSON bodies), `metrics` and `tower` (layers around handlers) are off.
//!
//! # Waits
//!
//! Every wait is bounded, but for those that wait for something to happen. A *request* is [`Timeouts::request`], 5 s unless it is set.
//!
//! | wait | bound |
//! | --- | --- |
//! | [`Client::connect`], [`Client::cluster_info`], [`Client::route`], [`Client::health`] | a request to each name server |
//! | [`ClientBuilder::connect`] with [`ClientBuilder::retry_first_connect`] | its argument, and a request to each name server |
//! | [`Client::wait_for_route`] | its argument, and a request to each name server |
//! | [`Producer::send`], [`Producer::send_to`], [`Producer::send_all`] for each request, [`PendingSend`] | [`ProducerBuilder::deliver_within`], 30 s unless it is set; batching adds its linger |
//! | [`Producer::submit`], [`Producer::submit_to`] | the same, for room; then a request to each name server, and a request |
//! | [`MessageSink`] | to be ready: as [`Producer::submit`]; flushed or closed: as [`PendingSend`] |
//! | [`Producer::send_and_forget`] | a request to each name server, and a request |
//! | [`Client::pull`] | a request, its own wait and 10 s |
//! | [`Admin`], [`Control::lag`], [`Control::commit`] | a request to each server that is asked |
//! | [`ConsumerBuilder::stream`], [`HandledBuilder::start`] | a few requests to each server of the cluster |
//! | [`Delivery::ack`] | none |
//! | [`Delivery::retry`], [`Delivery::retry_after`], [`Delivery::dead_letter`] | 30 s; the message is handed back later then |
//! | [`Control::shutdown`], [`Deliveries::shutdown`], the end of [`HandledBuilder::run_until`] | [`ConsumerBuilder::drain_within`], 25 s unless it is set, and 2 s |
//! | [`Membership::leave`] | a request to each name server, and a request |
//! | [`Client::shutdown`] | a request, or the ends of dropped consumers, and 1 s; with [`ClientBuilder::message_traces`] another request |
//! | [`PullConsumer::poll`] | its argument |
//! | [`Deliveries::next`], [`Batches::next`], [`Reader::next`], [`Events::next`], [`Membership::changed`] | none: they wait for a message, an event, a change. Dropping such a wait loses nothing |
//!
//! A client whose runtime has ended waits for nothing: each call fails at once with [`ErrorKind::Closed`], and says why.
#![deny(missing_docs)]
// Each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod builder;
mod client;
mod clock;
mod compression;
mod consumer;
#[cfg_attr(not(feature = "credentials"), path = "credentials_off.rs")]
mod credentials;
mod environment;
mod error;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
#[cfg(feature = "serde")]
mod json;
mod life;
mod membership;
mod message;
mod message_traces;
#[cfg_attr(not(feature = "metrics"), path = "metrics_off.rs")]
mod metrics;
mod missing;
mod producer;
mod pull;
mod pull_consumer;
mod queue;
mod reader;
mod reading;
mod received;
mod remote;
mod routes;
mod routing;
#[cfg(feature = "tls")]
mod tls;
mod trace;
mod url;

pub use admin::{Admin, GroupSpec, MessageTrack, TopicSpec, TraceKind, TraceStep, TrackKind};
pub use builder::{ClientBuilder, Timeouts};
pub use client::Client;
pub use compression::Compression;
pub use consumer::{
    Assignment, Batches, Consumer, ConsumerBuilder, Control, Deliveries, Delivery, Filter,
    HandledBuilder, Retry, StartFrom,
};
#[cfg(feature = "credentials")]
pub use credentials::Credentials;
pub use error::{Error, ErrorKind};
pub use events::{Event, Events, Health};
pub use membership::{Membership, MembershipBuilder};
pub use message::Message;
pub use producer::{
    Batching, Decision, MessageSink, PendingSend, Producer, ProducerBuilder, SendReceipt,
    SharedError, Transaction,
};
pub use pull::{PullOptions, PullStatus, Pulled};
pub use pull_consumer::PullConsumer;
pub use queue::Queue;
pub use reader::{Position, Reader, ReaderBuilder};
pub use received::ReceivedMessage;
pub use remote::{Answer, Remote};
#[cfg(all(unix, feature = "signal"))]
pub use rmq_process::stop_signal;
pub use routes::Route;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use trace::TraceContext;
pub use url::{ClusterUrl, UrlError};

/// The wire types, for raw calls.
pub use rmq_protocol as protocol;
/// What time it is, for tests that move it.
pub use rmq_transport::{Clock, SystemClock};
/// How connections are opened, for own connectors.
pub use rmq_transport::{ConnectFuture, Connector, Stream, TcpConnector};

/// The pages of the documentation, as tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../README.md")]
    mod of_the_crate {}
    #[doc = include_str!("../../docs/develop/client.md")]
    mod client {}
    #[doc = include_str!("../../docs/develop/errors.md")]
    mod errors {}
}
