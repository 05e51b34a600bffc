//! What changes at the brokers for a cluster to be as a `Topic` or `SubscriptionGroup` says, and the change itself. The command line
//! (`apply`, `diff`, `set`) and the operator share it.
//!
//! A [`Resource`] becomes fields (`topic`, `group`), [`plan`] or a [`Survey`] compares the fields with those of the brokers (`compare`), and
//! [`carry_out`] writes the [`Change`].

mod carry_out;
mod compare;
mod fields;
mod group;
mod resource;
mod survey;
mod topic;

pub use crate::carry_out::{carry_out, shown, write_all};
pub use crate::compare::{Action, Change, FieldChange};
pub use crate::fields::{Field, Value};
pub use crate::group::group_manifest;
pub use crate::resource::{MANAGED, Resource, claim, rivals};
pub use crate::survey::{Survey, plan};
pub use crate::topic::topic_manifest;
