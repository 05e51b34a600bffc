//! One module per verb: its options beside what it does.

pub(crate) mod dev;
pub(crate) mod version;
