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
//! an error. `Ok` of a send means that a broker stored the message, as safely as it is configured to. Every wait is bounded, and an
//! [`Error`] says what failed, where, whether trying again can help ([`Error::is_retryable`]) and the broker's own code.
#![deny(missing_docs)]

mod admin;
mod builder;
mod client;
mod consumer;
mod credentials;
mod environment;
mod error;
mod events;
mod incoming;
mod membership;
mod message;
mod producer;
mod pull;
mod pull_consumer;
mod queue;
mod reader;
mod received;
mod remote;
mod routes;
mod url;

pub use admin::{Admin, GroupSpec, TopicSpec};
pub use builder::{ClientBuilder, Timeouts};
pub use client::Client;
pub use consumer::{
    Assignment, Batches, Consumer, ConsumerBuilder, Deliveries, Delivery, Filter, HandledBuilder,
    Retry, StartFrom,
};
pub use credentials::Credentials;
pub use error::{Error, ErrorKind};
pub use events::{Event, Events, Health};
pub use membership::{Membership, MembershipBuilder};
pub use message::Message;
pub use producer::{
    Batching, PendingSend, Producer, ProducerBuilder, SendReceipt, SendStatus, SharedError,
};
pub use pull::{PullOptions, PullStatus, Pulled};
pub use pull_consumer::PullConsumer;
pub use queue::Queue;
pub use reader::{Position, Reader, ReaderBuilder};
pub use received::ReceivedMessage;
pub use remote::{Answer, Remote};
pub use routes::Route;
pub use url::{ClusterUrl, UrlError};

/// The wire types, for raw calls.
pub use rmq_protocol as protocol;
/// How connections are opened, for own connectors.
pub use rmq_transport::{ConnectFuture, Connector, Stream, TcpConnector};

/// The pages of the documentation, as tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/develop/client.md")]
    mod client {}
    #[doc = include_str!("../../docs/develop/errors.md")]
    mod errors {}
}
