//! A group with fixed roles in this process: brokers over real sockets and real files, and a wire between them that can be cut and held.

mod compaction;
mod copies;
mod damage;
mod light;
mod mend;
mod offsets;
mod passed_on;
mod promises;
mod rig;
mod roles;
mod seen;
mod snapshots;
#[path = "../messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;
mod switches;
mod timers;
mod tls;
mod transactions;
mod users;
mod wire;
