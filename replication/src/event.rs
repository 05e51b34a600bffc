//! What the two sides tell whoever drives them: rare things. How far the members are is asked of [`Members`](crate::Members) and
//! [`Followed`](crate::Followed).

use std::net::SocketAddr;

use rmq_protocol::Seat;
use rmq_protocol::message::LogPosition;
use rmq_store::PutAside;
use tokio::sync::oneshot;

use crate::greeting::Greeting;
use crate::reason::Reason;

/// What a master tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum MasterEvent {
    /// A replica has joined and is copied to.
    Joined {
        /// Who.
        seat: Seat,
        /// From where on it is copied to.
        from: LogPosition,
    },
    /// A replica has gone, or was sent away.
    Left {
        /// Who.
        seat: Seat,
        /// Why.
        reason: Reason,
    },
    /// Somebody was refused.
    Refused {
        /// From where.
        peer: Option<SocketAddr>,
        /// Why.
        reason: Reason,
    },
    /// A member knows a higher epoch: this member is not the master, or not any more.
    Superseded {
        /// Who says so.
        by: Seat,
        /// The higher epoch.
        epoch: u64,
    },
}

/// What a replica tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// The master has greeted, and the logs agree.
    Connected {
        /// The master.
        master: Seat,
        /// Its epoch.
        epoch: u64,
    },
    /// The log has all that the master had confirmed when the connection began. Told once for each connection.
    CaughtUp {
        /// Where the log ends.
        position: LogPosition,
    },
    /// The end of the log was cut off: the master does not have it. It was not confirmed.
    Cut {
        /// Where the log ends now.
        position: LogPosition,
        /// Where it ended.
        end: LogPosition,
        /// What was cut, and the file that has it; `None`: no message was in it.
        kept: Option<PutAside>,
    },
    /// The master has no log any more from where this one ends. Following ends with [`End::NeedsSnapshot`].
    NeedsSnapshot {
        /// Where this log ends.
        end: LogPosition,
        /// Where the master's begins.
        master_begin: LogPosition,
    },
    /// One of the two sides does not accept the other. It is tried again.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// There is no connection, or it has ended. It is tried again.
    Lost {
        /// Why.
        reason: Reason,
    },
}

/// Another member asks something of the election: a candidate where this member is, a master whether it is still followed. Whoever drives
/// the member answers; dropped, there is no answer.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub from: Seat,
    /// What, in the words of the election.
    pub question: Vec<u8>,
    /// Where the answer goes, at most [`QUESTION_BYTES_MAX`](crate::wire::QUESTION_BYTES_MAX) bytes.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// How following ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// It was told to.
    Stopped,
    /// The store cannot continue.
    Store {
        /// Why.
        reason: Reason,
    },
    /// The master has no log any more from where this one ends. Whoever drives the replica closes the store, has a snapshot
    /// [installed](crate::install) where nobody counts on what the store has, and follows again.
    NeedsSnapshot {
        /// Both positions, and what to do.
        reason: Reason,
    },
    /// The master's log is another below what is confirmed here. Nothing was cut. Whoever drives the replica decides whether the group has given
    /// up what is confirmed here, or asks a person.
    Diverged(Box<Parting>),
}

/// Two logs that part below what is confirmed at the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// What differs, and what to do.
    pub reason: Reason,
    /// Up to where both logs are the same.
    pub common: LogPosition,
    /// Where the replica's log ends.
    pub end: LogPosition,
    /// What the master says of its log.
    pub master: Greeting,
}
