//! What a member does.

use crate::place::{Lease, Member, Record, Seat, Version};

use super::durable::{Durable, Master};
use super::event::{BootMs, Question, Standing};
use super::finding::Finding;
use super::reason::{FenceReason, WritesClosed};

/// What the machine wants done. Actions are carried out in order, and each that has no answer is complete before the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the record; answer: [`Read`](super::Event::Read) or [`ReadFailed`](super::Event::ReadFailed).
    ReadPlace,
    /// Read the lease; answer: [`LeaseRead`](super::Event::LeaseRead) or [`LeaseReadFailed`](super::Event::LeaseReadFailed).
    ReadLease,
    /// Compare and swap the record; answer: [`Swapped`](super::Event::Swapped).
    Swap {
        /// The version it must have; `None`: there must be none.
        expected: Option<Version>,
        /// What it becomes.
        next: Box<Record>,
    },
    /// Compare and swap the lease; answer: [`LeaseSwapped`](super::Event::LeaseSwapped).
    SwapLease {
        /// The version it must have; `None`: there must be none.
        expected: Option<Version>,
        /// What it becomes.
        next: Lease,
    },
    /// Write this durably, in place of what was saved before; answer: [`Saved`](super::Event::Saved) or
    /// [`SaveFailed`](super::Event::SaveFailed).
    Save(Durable),
    /// Copy from this master: compare epochs, cut what it does not have, accept nothing of a lower epoch.
    Follow {
        /// The master.
        master: Master,
        /// Its epoch.
        epoch: u64,
    },
    /// Accept nothing and acknowledge nothing any more, from anybody. Complete when nothing more is sent.
    Unfollow,
    /// Make the store append in this epoch: the epoch is durable in the store's history before anything of it is appended; answer:
    /// [`Promoted`](super::Event::Promoted) or [`PromotionFailed`](super::Event::PromotionFailed). Replication is opened, writes are not.
    Promote {
        /// The epoch.
        epoch: u64,
    },
    /// From now on all of these must have a message before it is confirmed. The member itself is not in the list. Complete when the
    /// confirmed position can only rise by this list.
    Require {
        /// The number of the list; it comes back in [`Progress::required`](super::Progress::required).
        number: u64,
        /// Who.
        members: Vec<Seat>,
    },
    /// Take writes, grant locks, commit offsets: everything that only a master does. Register with the name servers as the master.
    OpenWrites {
        /// The epoch.
        epoch: u64,
    },
    /// Refuse all that [`OpenWrites`](Self::OpenWrites) allowed; reads continue. Complete when no write is on the way into the log.
    CloseWrites {
        /// Why, for the answer to those who write.
        why: WritesClosed,
    },
    /// The member may serve as master until this moment. Every acknowledgement is checked against it, so that a process that was stopped
    /// acknowledges nothing before it looks at the clock.
    ServeUntil(BootMs),
    /// Stop being master, now: no acknowledgement, no read, no lock, no offset; close the clients' connections, leave the name servers,
    /// open the store again as a follower's; answer: [`Fenced`](super::Event::Fenced) when all that is done. That nothing is acknowledged
    /// any more is complete before the next action.
    Fence {
        /// Why.
        why: FenceReason,
    },
    /// Ask these members at their replication addresses; answers: [`Answered`](super::Event::Answered), from whoever answers.
    Ask {
        /// Comes back with the answers.
        round: u64,
        /// Whom.
        members: Vec<Member>,
        /// What.
        question: Question,
    },
    /// The answer to [`Asked`](super::Event::Asked).
    Answer {
        /// The number of the question.
        id: u64,
        /// The answer.
        standing: Standing,
    },
    /// Tell people: a line in the log, and an event where there are events.
    Tell(Finding),
}
