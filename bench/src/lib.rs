//! Load generator for any server that speaks the RocketMQ remoting protocol, and a reference server that shows what the
//! machine allows. It shares the codec with our servers and nothing else.

mod apache;
pub mod compare;
pub mod disk;
pub mod idle;
pub mod load;
pub mod page_cache;
pub mod process;
pub mod reference;
pub mod replication;
pub mod report;
pub mod server;
pub mod stop;
pub mod template;
pub mod wire;
