//! The place that holds the record of a group and its lease.
//!
//! Safety rests on one promise of a back end: [`compare_and_swap`](Place::compare_and_swap) changes the record exactly if nobody has changed
//! it since `expected`, and [`read`](Place::read) shows every change that was answered before the read was asked for. Everything else may be
//! late, lost or doubled: a change that is watched, an answer, the lease.

#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod memory;
mod record;
#[cfg(any(feature = "etcd", feature = "kubernetes"))]
mod refused;
#[cfg(feature = "etcd")]
mod stored;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use futures_util::Stream;
use serde::{Deserialize, Serialize};

pub use record::{
    AckMode, Keeps, MEMBERS_MAX, Member, Outcome, Phase, Policy, REQUEST_BYTES_MAX, Reason, Record,
    Switchover, TERMS_MAX, Term, UncleanElection,
};
pub use rmq_protocol::member::{Incarnation, MemberId, Seat};

/// Which state of the record or of the lease. It rises with every change, also with changes by people and operators, and is never used
/// again, not even after a deletion. etcd: `mod_revision`. Kubernetes: `resourceVersion`, which is a rising number from 1.34 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value with the version that it has in the place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Versioned<T> {
    /// Its version.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// Whether the master is alive. It never decides who the master is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who holds it; `None` after it was released.
    pub holder: Option<Seat>,
    /// Grows by one with each renewal, so that each changes the object.
    pub renewals: u64,
    /// How long the holder counts as alive after a renewal, milliseconds, by the clock of whoever looks.
    pub duration_ms: u64,
}

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Swap<T> {
    /// It took place; this is the new version.
    Won(Version),
    /// It did not: the place holds this (`None`: nothing).
    Lost(Option<Versioned<T>>),
}

/// Something in the place has changed.
#[expect(
    clippy::large_enum_variant,
    reason = "a few each second, and none is kept"
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// The record; `None`: it was deleted.
    Record(Option<Versioned<Record>>),
    /// The lease; `None`: it was deleted.
    Lease(Option<Versioned<Lease>>),
}

/// Why a place gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nothing was changed: the place was not reached, or it refused before it did anything.
    #[error("{place}: {problem}")]
    Failed {
        /// Which place, as in the configuration.
        place: String,
        /// What happened, and what to do.
        problem: String,
    },
    /// The request may have been carried out, may be carried out later, or never: the answer was lost or did not come in time.
    #[error("{place}: it is not known whether the change took place: {problem}")]
    Unknown {
        /// Which place, as in the configuration.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The place holds something that is not a record or lease of this version, so nothing was done with it.
    #[error("{place}: {problem}")]
    Invalid {
        /// Which place and which object.
        place: String,
        /// What is wrong with the object, and what to do.
        problem: String,
    },
}

/// The answer of a place.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PlaceError>> + Send + 'a>>;

/// The changes of a place, in order for each of the two objects. After an error or the end the stream is over, and who watches asks again.
pub type Changes<'a> = Pin<Box<dyn Stream<Item = Result<Change, PlaceError>> + Send + 'a>>;

/// Where the record and the lease of one group are.
///
/// A back end bounds the time of every call; after that it answers [`PlaceError::Unknown`] for a swap and [`PlaceError::Failed`] for a
/// read. A call whose future is dropped may still be carried out.
pub trait Place: Send + Sync {
    /// The record as it is now, never from a cache or from a member of the place that lags; `None`: there is none.
    fn read(&self) -> Answer<'_, Option<Versioned<Record>>>;

    /// Replaces the record if it has the version `expected` (`None`: if there is none).
    ///
    /// In Kubernetes the part of members and policy is the operator's: there a back end leaves it as it is.
    fn compare_and_swap(&self, expected: Option<Version>, next: Record)
    -> Answer<'_, Swap<Record>>;

    /// The lease as it is now; `None`: there is none.
    fn read_lease(&self) -> Answer<'_, Option<Versioned<Lease>>>;

    /// Replaces the lease if it has the version `expected` (`None`: if there is none). With it a claimant takes the lease, a master renews
    /// it and releases it.
    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Answer<'_, Swap<Lease>>;

    /// What changes from now on. The first items are the record and the lease as they are. A change may be left out when a newer one
    /// follows.
    fn watch(&self) -> Changes<'_>;
}
