//! What happens to a member.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::place::{Incarnation, Lease, Record, Seat, Swap, Versioned};

use super::durable::Durable;

/// A moment of a clock that counts while the machine sleeps (`CLOCK_BOOTTIME`), milliseconds. Moments of two members have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootMs(pub u64);

impl BootMs {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for BootMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Where a log ends. Of two logs the one with the greater position has more, or something newer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The newest epoch of the log. A new log has one without bytes.
    pub epoch: u64,
    /// The position behind the last byte.
    pub end: u64,
}

/// What the machine is told. An answer belongs to the newest action of its kind: the machine has at most one open at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The member's store is open.
    Started {
        /// The member cannot be master: its store does not have all of the history that the group keeps.
        partial: bool,
    },
    /// Time has passed; at the latest at [the time that the machine asked for`.
    Tick,
    /// Where the member's own log ends. The driver says so before every tick, question and answer.
    Log(Position),
    /// The answer to [`ReadPlace`](super::Action::ReadPlace): the record as it was after the action; `None`: there is none.
    Read(Option<Versioned<Record>>),
    /// [`ReadPlace`](super::Action::ReadPlace) had no answer.
    ReadFailed,
    /// The watched record has changed. It may be older than what is known.
    Changed(Option<Versioned<Record>>),
    /// The answer to [`Swap`](super::Action::Swap).
    Swapped(Swapped),
    /// The answer to [`ReadLease`](super::Action::ReadLease); `None`: there is none.
    LeaseRead(Option<Versioned<Lease>>),
    /// [`ReadLease`](super::Action::ReadLease) had no answer.
    LeaseReadFailed,
    /// The watched lease has changed. It may be older than what is known.
    LeaseChanged(Option<Versioned<Lease>>),
    /// The answer to [`SwapLease`](super::Action::SwapLease).
    LeaseSwapped(LeaseSwapped),
    /// [`Save`](super::Action::Save) is done: this is on disk.
    Saved(Durable),
    /// [`Save`](super::Action::Save) has failed; what is on disk is what was there before, or what was to be saved.
    SaveFailed,
    /// [`Promote`](super::Action::Promote) is done: the store appends in this epoch, from `start`.
    Promoted {
        /// The epoch.
        epoch: u64,
        /// Where the log ends and the epoch begins.
        start: u64,
    },
    /// [`Promote`](super::Action::Promote) has failed; the member cannot be master.
    PromotionFailed {
        /// What the store says.
        problem: String,
    },
    /// [`Fence`](super::Action::Fence) is done: the store is open as a follower's.
    Fenced,
    /// Where the members are. Only a master gets it: at least with every tick, and when a member connects, is lost or catches up.
    Progress(Progress),
    /// The member stops taking part. A master is fenced and releases the lease.
    Stop,
    /// Another member has shown that it has accepted this epoch.
    EpochSeen(u64),
    /// The process of the master of this epoch has ended for certain: its computer answers and refuses the connection.
    MasterGone(u64),
    /// Another member asks. The answer is [`Answer`](super::Action::Answer) with the same number.
    Asked {
        /// The number of the question, given by the driver.
        id: u64,
        /// The question.
        question: Question,
    },
    /// A member has answered [`Ask`](super::Action::Ask).
    Answered {
        /// The round of the action.
        round: u64,
        /// The answer.
        standing: Standing,
    },
}

/// What became of a swap of the record.
#[expect(
    clippy::large_enum_variant,
    reason = "a few each second, and none is kept"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// As the place says.
    Known(Swap<Record>),
    /// It may have taken place or may take place later.
    Unknown,
    /// Nothing was changed.
    Failed,
}

/// What became of a swap of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseSwapped {
    /// As the place says.
    Known(Swap<Lease>),
    /// It may have taken place or may take place later.
    Unknown,
    /// Nothing was changed.
    Failed,
}

/// Where a master and those that copy from it are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Progress {
    /// The number of the newest [`Require`](super::Action::Require) that `confirmed` already respects. `confirmed` is read after that.
    pub required: u64,
    /// Below it, every required member has every message, position in bytes.
    pub confirmed: u64,
    /// Where the master's log ends.
    pub end: u64,
    /// The other members that have ever connected in this epoch, each once.
    pub members: Vec<MemberProgress>,
}

/// Where one member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberProgress {
    /// Who.
    pub seat: Seat,
    /// The position up to which the member has the log as the ack mode counts it: in memory or on disk.
    pub stored: u64,
    /// Whether the member is connected and follows this epoch.
    pub connected: bool,
    /// The member's side has closed the connection, and the member is not back: as a rule its process has ended.
    pub closed: bool,
    /// As in [`Standing::partial`].
    pub partial: bool,
}

/// What members ask each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Question {
    /// A candidate asks where the member is.
    Standing {
        /// Who asks.
        from: Seat,
    },
    /// A master that does not reach the place asks whether the member still follows its epoch. Yes is also a promise: the member claims
    /// nothing for one lease.
    Promise {
        /// Who asks.
        from: Seat,
        /// Its epoch.
        epoch: u64,
    },
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Who answers.
    pub seat: Seat,
    /// The highest epoch that the member has accepted.
    pub epoch: u64,
    /// Where its log ends.
    pub log: Position,
    /// As in [`Durable::former`](super::Durable::former).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Incarnation>,
    /// The member lacks history.
    pub partial: bool,
    /// The epoch whose master has the promise that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<u64>,
}
