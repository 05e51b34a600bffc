//! What two members tell each other before anything else, and what each checks of it.

use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_store::{Epoch, Store, common_end};

use crate::reason::{Reason, ReasonKind};

/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;
/// Longest name of a cluster or group, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Epochs that a greeting has at most: the newest ones.
pub const EPOCHS_MAX: usize = 4_096;

/// Who a member is. It does not change while its store is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, at most [`NAME_BYTES_MAX`] bytes.
    pub cluster: String,
    /// The broker name, which is the group, at most [`NAME_BYTES_MAX`] bytes.
    pub group: String,
    /// The member and its data.
    pub seat: Seat,
    /// The size of new segments, bytes: all members of a group have the same.
    pub segment_bytes: u64,
}

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the protocol.
    pub version: u16,
    /// Who it is.
    pub identity: Identity,
    /// The highest epoch that it knows: a master's own.
    pub epoch: u64,
    /// It is the master of this epoch. Nobody compares logs with a member that is not: to be shorter than such a log means nothing.
    pub leads: bool,
    /// Which masters have written its log, oldest first.
    pub epochs: Vec<Epoch>,
    /// Where its log begins.
    pub begin: LogPosition,
    /// Where its log ends.
    pub end: LogPosition,
    /// Up to where nothing of its log may be cut.
    pub confirmed: LogPosition,
    /// It may be asked for stretches of its log.
    pub fetches: bool,
}

impl Greeting {
    /// The greeting of a member with this store. `epoch` is the highest one that the member knows; that of its log counts when it is
    /// higher.
    #[must_use]
    pub fn of(identity: &Identity, epoch: u64, store: &Store) -> Self {
        let mut epochs = store.epochs();
        let surplus = epochs.len().saturating_sub(EPOCHS_MAX);
        epochs.drain(..surplus);
        let positions = store.positions();
        Self {
            version: VERSION,
            identity: identity.clone(),
            epoch: epochs.last().map_or(epoch, |last| last.number.max(epoch)),
            leads: false,
            epochs,
            begin: LogPosition(positions.min),
            end: LogPosition(positions.appended),
            confirmed: LogPosition(positions.confirmed),
            fetches: true,
        }
    }

    /// That of which only the version is known.
    pub(crate) fn of_version(version: u16) -> Self {
        Self {
            version,
            identity: Identity {
                cluster: String::new(),
                group: String::new(),
                seat: Seat {
                    member: MemberId(0),
                    incarnation: Incarnation(0),
                },
                segment_bytes: 0,
            },
            epoch: 0,
            leads: false,
            epochs: Vec::new(),
            begin: LogPosition(0),
            end: LogPosition(0),
            confirmed: LogPosition(0),
            fetches: false,
        }
    }

    /// Up to where two logs are the same. `None`: their epochs do not say it.
    pub(crate) fn common_end(&self, other: &Self) -> Option<LogPosition> {
        let common = common_end((&self.epochs, self.end), (&other.epochs, other.end));
        // Logs that both reach back to the beginning have at least that in common.
        let both_whole = self.begin.0 == 0 && other.begin.0 == 0;
        common.or(both_whole.then_some(LogPosition(0)))
    }

    /// The epoch that a position is of, and where that epoch ends, if it does.
    pub(crate) fn epoch_at(&self, position: LogPosition) -> (u64, Option<LogPosition>) {
        let next = self.epochs.partition_point(|epoch| epoch.first <= position);
        let epoch = next.checked_sub(1).and_then(|at| self.epochs.get(at));
        let ends_at = self.epochs.get(next).map(|next| next.first);
        (epoch.map_or(0, |epoch| epoch.number), ends_at)
    }

    /// Whether the two can be of one group, as seen by the one who says `self`.
    pub(crate) fn check(&self, other: &Self) -> Result<(), Reason> {
        let (we, they) = (&self.identity, &other.identity);
        let refuse = |kind, text: String| Err(Reason::new(kind, text));
        if self.version != other.version {
            return refuse(
                ReasonKind::Version,
                format!(
                    "member {} speaks version {} of the replication protocol and the other side version {}: give both the same release of rmq",
                    we.seat.member, self.version, other.version
                ),
            );
        }
        if we.cluster != they.cluster {
            return refuse(
                ReasonKind::Cluster,
                format!(
                    "member {} is of the cluster {:?} and member {} of {:?}: correct the address or the name of the cluster",
                    we.seat.member, we.cluster, they.seat.member, they.cluster
                ),
            );
        }
        if we.group != they.group {
            return refuse(
                ReasonKind::Group,
                format!(
                    "member {} is of the group {:?} and member {} of {:?}: correct the address or the broker name",
                    we.seat.member, we.group, they.seat.member, they.group
                ),
            );
        }
        if we.seat.member == they.seat.member {
            return refuse(
                ReasonKind::Member,
                format!(
                    "both sides are member {}: give each member of the group {:?} its own number",
                    we.seat.member, we.group
                ),
            );
        }
        if we.segment_bytes != they.segment_bytes {
            return refuse(
                ReasonKind::SegmentSize,
                format!(
                    "member {} has segments of {} bytes and member {} of {} bytes: give all members of the group the same segment size",
                    we.seat.member, we.segment_bytes, they.seat.member, they.segment_bytes
                ),
            );
        }
        let rise = other.epochs.windows(2).all(|pair| {
            matches!(pair, [one, next] if one.number < next.number && one.first < next.first)
        });
        let newest = other.epochs.last().map(|last| last.number);
        if !rise || newest.is_none_or(|newest| newest > other.epoch) {
            return refuse(
                ReasonKind::Protocol,
                format!(
                    "member {} names epochs of its log that are in no order: {:?}",
                    they.seat.member, other.epochs
                ),
            );
        }
        if other.begin > other.end || other.confirmed > other.end {
            return refuse(
                ReasonKind::Position,
                format!(
                    "member {} says that its log begins at {}, is confirmed up to {} and ends at {}",
                    they.seat.member, other.begin, other.confirmed, other.end
                ),
            );
        }
        Ok(())
    }
}
