//! Why a connection between two members ends. The side that ends it says the reason in its last frame, so that both logs have it.

use std::fmt;

/// What kind of reason. The numbers are a part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReasonKind {
    /// The sender stops.
    Stopping,
    /// A frame that does not belong there, or is none.
    Protocol,
    /// The versions of the protocol have nothing in common.
    Version,
    /// Another cluster.
    Cluster,
    /// Another group.
    Group,
    /// No member of the group, or not the one that was looked for.
    Member,
    /// A member with other data than it may have.
    Incarnation,
    /// Segments of another size.
    SegmentSize,
    /// The master is of an older epoch than the replica knows: it is none any more.
    StaleMaster,
    /// The master has no log any more from where the replica's ends.
    Expired,
    /// A position that cannot be.
    Position,
    /// The same member has connected again.
    Replaced,
    /// Nothing was heard for too long.
    Silence,
    /// The store of the sender cannot continue.
    Store,
    /// The logs part below what is confirmed.
    Diverged,
    /// The sender is no master.
    NotMaster,
    /// Too many connections.
    Busy,
    /// A question was answered: the connection was for nothing else.
    Answered,
    /// The computer of the other member answers, and nobody listens there: its process has ended.
    Gone,
    /// A later version's.
    Other(u16),
}

const NUMBERS: [(ReasonKind, u16); 19] = [
    (ReasonKind::Stopping, 0),
    (ReasonKind::Protocol, 1),
    (ReasonKind::Version, 2),
    (ReasonKind::Cluster, 3),
    (ReasonKind::Group, 4),
    (ReasonKind::Member, 5),
    (ReasonKind::Incarnation, 6),
    (ReasonKind::SegmentSize, 7),
    (ReasonKind::StaleMaster, 8),
    (ReasonKind::Expired, 9),
    (ReasonKind::Position, 10),
    (ReasonKind::Replaced, 11),
    (ReasonKind::Silence, 12),
    (ReasonKind::Store, 13),
    (ReasonKind::Diverged, 14),
    (ReasonKind::NotMaster, 15),
    (ReasonKind::Busy, 16),
    (ReasonKind::Answered, 17),
    (ReasonKind::Gone, 18),
];

impl ReasonKind {
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => NUMBERS
                .iter()
                .find(|(kind, _)| *kind == known)
                .map_or(u16::MAX, |(_, number)| *number),
        }
    }

    pub(crate) fn of(number: u16) -> Self {
        NUMBERS
            .iter()
            .find(|(_, known)| *known == number)
            .map_or(Self::Other(number), |(kind, _)| *kind)
    }
}

/// Why a connection ends: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Reason {
    /// For programs.
    pub kind: ReasonKind,
    /// For people.
    pub text: String,
}

impl ReasonKind {
    /// Whether the two sides cannot work together as they are set up, other than that a connection broke.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        !matches!(
            self,
            Self::Stopping
                | Self::Silence
                | Self::Replaced
                | Self::Answered
                | Self::Gone
                | Self::Other(_)
        )
    }
}

impl Reason {
    /// A reason with its text.
    #[must_use]
    pub fn new(kind: ReasonKind, text: impl fmt::Display) -> Self {
        Self {
            kind,
            text: text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number() {
        for (kind, number) in NUMBERS {
            assert_eq!((kind.number(), ReasonKind::of(number)), (number, kind));
        }
        assert_eq!(ReasonKind::of(999), ReasonKind::Other(999));
        assert_eq!(ReasonKind::Other(999).number(), 999);
    }
}
