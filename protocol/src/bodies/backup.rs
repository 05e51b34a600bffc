//! What a broker says of a copy of its data that begins (code 320010), of this project.

use serde::{Deserialize, Serialize};

use super::bodies;
use crate::member::{Incarnation, MemberId};

/// A copy that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupBegun {
    /// Names the copy in the requests that follow.
    pub backup: String,
    /// The log is copied from this position on, where a segment begins.
    pub begins: u64,
    /// The cluster.
    pub cluster: String,
    /// The broker group.
    pub group: String,
    /// The copy ends when nothing is asked for so long, milliseconds.
    pub idle_ms: u64,
    /// Which data the member has.
    pub incarnation: Incarnation,
    /// Whether the member is the master.
    pub is_master: bool,
    /// The member that is copied.
    pub member: MemberId,
    /// The copy has everything that is confirmed below this position of the log.
    pub position: u64,
}

bodies! {
    BackupBegun: plain;
}
