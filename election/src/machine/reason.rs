//! Why a member does less than it could.

use std::fmt;

use crate::place::MemberId;

/// Why writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WritesClosed {
    /// Fewer members are in sync than the policy wants.
    BelowMinimum {
        /// How many are.
        in_sync: u32,
        /// How many must be.
        min_in_sync: u32,
    },
    /// The master is about to hand over to this member.
    Switchover(MemberId),
}

/// Why a master stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FenceReason {
    /// Another member has claimed this epoch.
    HigherEpoch(u64),
    /// The lease could not be renewed in time, and not all members of the in-sync set have promised to wait.
    TimeIsUp,
    /// The store cannot be master's.
    PromotionFailed,
    /// The record does not name the member as master any more, or is gone.
    NotMaster,
    /// What must survive a crash could not be saved.
    DiskFailed,
    /// The member was told to stop.
    Stopping,
}

/// Why a member does not claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotEligible {
    /// It is not in the in-sync set, or has other data than the set knows.
    NotInSet,
    /// It may have lost messages in a crash of its computer, and another member of the set has them or is not reached.
    Dirty,
    /// It lacks history.
    Partial,
    /// Its store could not be made a master's; a start may help.
    Unfit,
    /// A switchover names another member.
    NotTheTarget,
    /// It has promised the master to wait.
    Promised,
    /// The group starts for the first time, and other members have not answered yet.
    FirstStart,
    /// The place is not reached.
    PlaceAway,
    /// It is not among the members that may take part.
    NotAMember,
}

impl fmt::Display for NotEligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInSet => "it is not in the in-sync set with the data that it has",
            Self::Dirty => "it may have lost messages in a crash of its computer, and not all members of the in-sync set have answered",
            Self::Unfit => "its store could not be made a master's; the log says why, and a start may help",
            Self::Partial => "it does not have the history that the group keeps",
            Self::NotTheTarget => "a switchover names another member",
            Self::Promised => "it has promised the master to wait",
            Self::FirstStart => "the group starts for the first time and other members have not answered yet",
            Self::PlaceAway => "the place of the record is not reached",
            Self::NotAMember => "it is not among the members of the group",
        })
    }
}

impl fmt::Display for FenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HigherEpoch(epoch) => write!(f, "another member has claimed epoch {epoch}"),
            Self::TimeIsUp => f.write_str("the lease could not be renewed in time, and not all members of the in-sync set have promised to wait"),
            Self::PromotionFailed => f.write_str("the store cannot be a master's"),
            Self::NotMaster => f.write_str("the record does not name this member as the master any more"),
            Self::DiskFailed => f.write_str("what must survive a crash cannot be saved"),
            Self::Stopping => f.write_str("it was told to stop"),
        }
    }
}
