//! What people are told.

use std::fmt;

use crate::place::{MemberId, Seat};

use super::reason::{FenceReason, NotEligible};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Note,
    /// Something is weaker than it should be, and the group serves.
    Warning,
    /// The group does not serve, or messages may be lost.
    Error,
}

/// Something about a group that people should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// This member has become the master.
    BecameMaster {
        /// Its epoch.
        epoch: u64,
    },
    /// This member has stopped being the master.
    Fenced {
        /// The epoch it had.
        epoch: u64,
        /// Why.
        why: FenceReason,
    },
    /// Nobody is master, and why this member does not claim.
    NoMaster {
        /// The last epoch.
        epoch: u64,
        /// Why not.
        because: NotEligible,
    },
    /// A member is not in the in-sync set.
    OutOfSet {
        /// Which one.
        member: MemberId,
    },
    /// The in-sync set is smaller than the policy wants; writes are refused.
    BelowMinimum {
        /// How many members are in sync.
        in_sync: u32,
        /// How many must be.
        min_in_sync: u32,
    },
    /// The slot of a member of the set has come back with other data, as after a change of its disk.
    OtherIncarnation {
        /// The member as the set knows it.
        known: Seat,
        /// The member as it came back.
        now: Seat,
    },
    /// The place is not reached; the master serves because every member of the in-sync set has promised to wait.
    Failsafe {
        /// The epoch.
        epoch: u64,
    },
    /// The place is not reached.
    PlaceAway,
    /// This member has lost the end of its log in a crash of its computer. It leaves the in-sync set before it may be master.
    Dirty,
    /// Messages that were acknowledged may be lost, for the master of this epoch did not have all of them for certain.
    DataLossPossible {
        /// The epoch from which on the log is what the master had.
        epoch: u64,
        /// The position in bytes from which on messages may be lost; `None`: it is not known yet.
        from: Option<u64>,
    },
    /// The target of a switchover did not come in time; the master has taken its place back.
    SwitchoverTakenBack {
        /// The target.
        to: MemberId,
        /// Why.
        because: String,
    },
    /// The record was deleted from its place, or is not one.
    RecordGone,
    /// The state that must survive a crash cannot be saved.
    DiskFailed,
    /// This member is not among the members that may take part.
    NotAMember,
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::BecameMaster { .. } => Severity::Note,
            Self::Fenced {
                why: FenceReason::HigherEpoch(_) | FenceReason::Stopping,
                ..
            } => Severity::Note,
            Self::Fenced { .. }
            | Self::OutOfSet { .. }
            | Self::OtherIncarnation { .. }
            | Self::Failsafe { .. }
            | Self::PlaceAway
            | Self::Dirty
            | Self::NotAMember
            | Self::SwitchoverTakenBack { .. } => Severity::Warning,
            Self::NoMaster { .. }
            | Self::BelowMinimum { .. }
            | Self::DataLossPossible { .. }
            | Self::RecordGone
            | Self::DiskFailed => Severity::Error,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecameMaster { epoch } => write!(f, "this member is the master of epoch {epoch}"),
            Self::Fenced { epoch, why } => {
                write!(f, "this member has stopped being the master of epoch {epoch}: {why}")
            }
            Self::NoMaster { epoch, because } => write!(
                f,
                "no master after epoch {epoch}, and this member does not become one: {because}"
            ),
            Self::OutOfSet { member } => write!(f, "member {member} is not in the in-sync set"),
            Self::BelowMinimum {
                in_sync,
                min_in_sync,
            } => write!(
                f,
                "writes are refused: {in_sync} members are in sync and the policy wants {min_in_sync}"
            ),
            Self::OtherIncarnation { known, now } => write!(
                f,
                "member {} has come back with other data ({} instead of {}): it counts as a new member",
                now.member, now.incarnation, known.incarnation
            ),
            Self::Failsafe { epoch } => write!(
                f,
                "the place of the record is not reached; the master of epoch {epoch} serves because all members in sync have promised to wait"
            ),
            Self::PlaceAway => f.write_str("the place of the record is not reached"),
            Self::Dirty => f.write_str(
                "this member may have lost the end of its log in a crash of its computer: it leaves the in-sync set before it may be master",
            ),
            Self::DataLossPossible { epoch, from } => {
                write!(f, "acknowledged messages may be lost with the election of epoch {epoch}")?;
                from.map_or(Ok(()), |from| write!(f, ", from position {from} on"))
            }
            Self::SwitchoverTakenBack { to, because } => {
                write!(f, "the switchover to member {to} was taken back: {because}")
            }
            Self::RecordGone => f.write_str("the record of the group is gone from its place"),
            Self::DiskFailed => f.write_str("the state of the election cannot be saved"),
            Self::NotAMember => f.write_str("this member is not among the members of the group"),
        }
    }
}
