//! A group that elects its master, in this process: brokers over real sockets and real files, two name servers, and a place in memory.

mod carried;
#[path = "../replicas/damage.rs"]
mod damage;
mod failover;
mod late;
mod members;
mod mend;
mod planned;
mod record;
mod rig;
#[path = "../messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;
#[path = "../replicas/wire.rs"]
#[allow(dead_code, reason = "the tests of replicas use the rest")]
mod wire;
