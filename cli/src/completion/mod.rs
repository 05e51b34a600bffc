//! Names that a shell completes.

mod candidates;
pub(crate) mod contexts;
pub(crate) mod names;
