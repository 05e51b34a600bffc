//! Parts that several kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A `NameServer` object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameServerRef {
    /// Name of the NameServer object.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What becomes of the thing in the cluster when its object is deleted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted too.
    Delete,
}
