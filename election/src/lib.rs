//! Who is the master of a broker group.
//!
//! Master, epoch and in-sync set are one [`Record`](place::Record) in a [`Place`](place::Place), changed by compare-and-swap. A lease beside
//! it says only whether the master is alive. The [`Machine`](machine::Machine) decides: a pure function of state, event and time. This crate
//! knows no socket, no store and no broker.

pub mod driver;
pub mod machine;
pub mod place;
