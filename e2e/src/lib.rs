//! Tests of the whole: the real binaries as processes, killed, flooded and asked again.
//!
//! [`process`] starts and ends them, [`cluster`] puts some together, [`load`] sends and remembers what was acknowledged, and
//! [`checker`] says whether what is read afterwards is what may be there. [`crowd`] has several producers a queue and readers
//! beside them; its [`history`] also knows what was delivered, and what was sent after what. [`foreign`] runs the programs in
//! other languages, and [`apache`] the original's own servers.

pub mod apache;
pub mod checker;
pub mod cluster;
pub mod crowd;
pub mod foreign;
pub mod history;
pub mod load;
pub mod process;
