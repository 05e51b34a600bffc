//! Consumer groups and administration, over the wire to a broker in this process.

mod admin;
mod clock;
mod compaction;
mod consumers;
mod earlier;
mod light;
mod order;
mod recorded;
mod replies;
mod retries;
mod room;
mod shrink;
mod statistics;
#[path = "../messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;
mod transactions;
mod undeliverable;
mod unknown;
