//! A group that elects its master, in this process: brokers over real sockets and real files, two name servers, and a place in memory.

mod carried;
mod failover;
mod planned;
mod rig;
#[path = "../messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;
