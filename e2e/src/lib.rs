//! Tests of the whole: the real binaries as processes, killed, flooded and asked again.
//!
//! [`process`] starts and ends them, [`cluster`] puts some together, [`load`] sends and remembers what was acknowledged, and
//! [`checker`] says whether what is read afterwards is what may be there. [`foreign`]
//! runs the programs in other languages.

pub mod checker;
pub mod cluster;
pub mod foreign;
pub mod load;
pub mod process;
