//! What a place holds of a group: the record.

use serde::{Deserialize, Serialize};

use rmq_protocol::member::{MemberId, Seat};

/// How many terms a record keeps.
pub const TERMS_MAX: usize = 10;
/// How many members a group may have.
pub const MEMBERS_MAX: usize = 16;
/// How long the number of a request may be, bytes.
pub const REQUEST_BYTES_MAX: usize = 128;

/// Everything that decides who is master of a group. Every change is one compare-and-swap of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Grows by one with each claim and is never used again. 0: there was no master yet.
    pub epoch: u64,
    /// Where the group is between two masters.
    pub phase: Phase,
    /// Who has claimed `epoch`.
    pub master: Option<Seat>,
    /// The members that have every acknowledged message, in the order of their slots. Only the master of `epoch` changes them.
    pub in_sync: Vec<Seat>,
    /// Grows by one with each change of `in_sync`.
    pub in_sync_version: u64,
    /// The last [`TERMS_MAX`] terms, oldest first.
    #[serde(default)]
    pub history: Vec<Term>,
    /// A planned move that somebody asked for and that is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<Switchover>,
    /// An election that may lose messages, asked for by a person and not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean: Option<UncleanElection>,
    /// How the last request of the two kinds ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who may take part, in the order of the slots.
    pub members: Vec<Member>,
    /// What an acknowledgement promises.
    pub policy: Policy,
}

impl Record {
    /// The record of a group that had no master yet.
    #[must_use]
    pub fn vacant(members: Vec<Member>, policy: Policy) -> Self {
        Self {
            epoch: 0,
            phase: Phase::Vacant,
            master: None,
            in_sync: Vec::new(),
            in_sync_version: 0,
            history: Vec::new(),
            switchover: None,
            unclean: None,
            outcome: None,
            members,
            policy,
        }
    }

    /// Whether a member with this data is in the in-sync set.
    #[must_use]
    pub fn has_in_sync(&self, seat: Seat) -> bool {
        self.in_sync.contains(&seat)
    }

    /// The member with this slot, if it may take part.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// Why a group has not given up what one member has and its master does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Keeps {
    /// It may be what the members of the set have acknowledged together.
    #[error(
        "with ackMode {0} of the group, what is confirmed is at every member of the in-sync set: no election gives it up"
    )]
    Acknowledged(AckMode),
    /// The record names another master.
    #[error("the record has another master, or the same one in another epoch")]
    OtherMaster,
    /// The master has not written yet where its epoch begins.
    #[error("the record does not say yet where epoch {epoch} of the master begins")]
    NotRecovered {
        /// The epoch.
        epoch: u64,
    },
    /// The master's log is not the one of the record.
    #[error(
        "the record has epoch {epoch} of the log from position {recorded} on, and the master from {found}"
    )]
    OtherHistory {
        /// The epoch.
        epoch: u64,
        /// Where it begins by the record.
        recorded: u64,
        /// Where it begins by the master.
        found: u64,
    },
}

impl Record {
    /// Whether the log of the master in this epoch is the group's, so that what another member has and the master does not is given up: the record
    /// names the master, the epochs of its log (number and first position) are those of the record, and acknowledgements wait for the master
    /// alone, so that each election may give up some.
    ///
    /// # Errors
    /// See [`Keeps`]. Only [`Keeps::Acknowledged`] stays true as the record changes.
    pub fn gives_up(
        &self,
        master: Seat,
        epoch: u64,
        epochs: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<(), Keeps> {
        let mode = self.policy.ack_mode;
        if mode.needs_set() {
            return Err(Keeps::Acknowledged(mode));
        }
        if self.epoch != epoch || self.master != Some(master) {
            return Err(Keeps::OtherMaster);
        }
        let mut has_begun = false;
        for (number, found) in epochs {
            let term = self.history.iter().find(|term| term.epoch == number);
            let Some(recorded) = term.and_then(|term| term.start) else {
                continue;
            };
            if recorded != found {
                return Err(Keeps::OtherHistory {
                    epoch: number,
                    recorded,
                    found,
                });
            }
            has_begun |= number == epoch;
        }
        match has_begun {
            true => Ok(()),
            false => Err(Keeps::NotRecovered { epoch }),
        }
    }
}

/// Where a group is between two masters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// There was no master yet.
    Vacant,
    /// A member has claimed the epoch and gets ready.
    Electing,
    /// The master serves.
    Stable,
    /// The master has closed the writes and waits for the target of a switchover.
    Transferring,
}

/// A member that may take part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its slot.
    pub id: MemberId,
    /// Where other members reach it, `host:port`.
    pub replication: String,
    /// Where clients reach it, `host:port`.
    pub client: String,
}

/// One master's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// Its epoch.
    pub epoch: u64,
    /// The master.
    pub master: Seat,
    /// Where the log ended when the master began, position in bytes; `None` until it has recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Why it began.
    pub reason: Reason,
}

/// Why a term began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The group had no master before.
    First,
    /// The master before was gone.
    Failure,
    /// The master before had handed over.
    Switchover,
    /// All members of the set had lost what was not on their disks; the one with the longest log was taken.
    AllUnclean,
    /// A person accepted a loss.
    Unclean,
}

impl Reason {
    /// Whether acknowledged messages may be missing from the log that such a term begins with. The longest log has all that was on the disks
    /// of the set, so nothing that was acknowledged on disk.
    #[must_use]
    pub fn may_lose(self, ack_mode: AckMode) -> bool {
        match self {
            Self::First | Self::Failure | Self::Switchover => false,
            Self::AllUnclean => !ack_mode.is_flushed(),
            Self::Unclean => true,
        }
    }
}

/// A planned move of the master.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switchover {
    /// Who becomes the master.
    pub to: MemberId,
    /// The request, by which its [`Outcome`] is found.
    pub request: String,
}

/// An election that may lose messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UncleanElection {
    /// Who becomes the master, whatever it lacks.
    pub to: MemberId,
    /// The request, by which its [`Outcome`] is found.
    pub request: String,
    /// Whether the person has accepted that messages may be lost; without that the request is refused.
    pub accept_loss: bool,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Which one.
    pub request: String,
    /// Why it was refused or taken back; `None` when it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Who must have a message before its sender is told.
    pub ack_mode: AckMode,
    /// Writes are refused while fewer members, the master among them, are in the in-sync set. From 1.
    pub min_in_sync: u32,
}

/// Who must have a message before its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AckMode {
    /// The master, in memory.
    Memory,
    /// The master, on its disk.
    Flushed,
    /// Every member of the in-sync set, in memory.
    InSync,
    /// Every member of the in-sync set, on its disk.
    InSyncFlushed,
}

impl std::fmt::Display for AckMode {
    /// As the setting `ackMode` has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Flushed => "flushed",
            Self::InSync => "inSync",
            Self::InSyncFlushed => "inSyncFlushed",
        })
    }
}

impl AckMode {
    /// Whether every member of the in-sync set must have a message. Otherwise the set only says who may become master.
    #[must_use]
    pub fn needs_set(self) -> bool {
        matches!(self, Self::InSync | Self::InSyncFlushed)
    }

    /// Whether an acknowledged message is on disk wherever the mode promises it, so a power cut loses none.
    #[must_use]
    pub fn is_flushed(self) -> bool {
        matches!(self, Self::Flushed | Self::InSyncFlushed)
    }
}

#[cfg(test)]
mod tests {
    use rmq_protocol::Incarnation;

    use super::*;

    fn seat(member: u64) -> Seat {
        Seat {
            member: MemberId(member),
            incarnation: Incarnation(u128::from(member)),
        }
    }

    fn term(epoch: u64, master: u64, start: Option<u64>) -> Term {
        Term {
            epoch,
            master: seat(master),
            start,
            reason: Reason::Failure,
        }
    }

    /// Member 1 is the master of epoch 4; epoch 3 came to nothing.
    fn record(ack_mode: AckMode) -> Record {
        let policy = Policy {
            ack_mode,
            min_in_sync: 1,
        };
        Record {
            epoch: 4,
            phase: Phase::Stable,
            master: Some(seat(1)),
            history: vec![
                term(2, 0, Some(100)),
                term(3, 2, None),
                term(4, 1, Some(300)),
            ],
            ..Record::vacant(Vec::new(), policy)
        }
    }

    #[test]
    fn the_longest_log_has_what_was_acknowledged_on_disk() {
        for (ack_mode, loses) in [
            (AckMode::Memory, true),
            (AckMode::Flushed, false),
            (AckMode::InSync, true),
            (AckMode::InSyncFlushed, false),
        ] {
            assert_eq!(Reason::AllUnclean.may_lose(ack_mode), loses, "{ack_mode}");
            assert!(Reason::Unclean.may_lose(ack_mode));
            assert!(!Reason::Failure.may_lose(ack_mode));
        }
    }

    #[test]
    fn what_the_master_alone_has_acknowledged_is_given_up_by_the_next_one() {
        // Epoch 1 is older than the record.
        let log = [(1, 0), (2, 100), (4, 300)];
        for mode in [AckMode::Memory, AckMode::Flushed] {
            let record = record(mode);
            assert_eq!(record.gives_up(seat(1), 4, log), Ok(()));
            assert_eq!(
                record.gives_up(seat(0), 4, log),
                Err(Keeps::OtherMaster),
                "it is another member"
            );
            let mut other_data = seat(1);
            other_data.incarnation = Incarnation(77);
            assert_eq!(
                record.gives_up(other_data, 4, log),
                Err(Keeps::OtherMaster),
                "it has other data"
            );
            for epoch in [2, 3, 5] {
                assert_eq!(
                    record.gives_up(seat(1), epoch, log),
                    Err(Keeps::OtherMaster),
                    "of epoch {epoch}"
                );
            }
            for (epoch, wrong) in [
                (2, [(1, 0), (2, 101), (4, 300)]),
                (4, [(1, 0), (2, 100), (4, 200)]),
            ] {
                let kept = record.gives_up(seat(1), 4, wrong).expect_err("another log");
                assert!(
                    matches!(kept, Keeps::OtherHistory { epoch: found, .. } if found == epoch),
                    "{kept}"
                );
            }
            let mut electing = record.clone();
            electing.history[2].start = None;
            assert_eq!(
                electing.gives_up(seat(1), 4, log),
                Err(Keeps::NotRecovered { epoch: 4 })
            );
            assert_eq!(
                record.gives_up(seat(1), 4, [(1, 0), (2, 100)]),
                Err(Keeps::NotRecovered { epoch: 4 }),
                "its log does not have the epoch"
            );
        }
    }

    #[test]
    fn what_the_set_has_confirmed_is_never_given_up() {
        for mode in [AckMode::InSync, AckMode::InSyncFlushed] {
            let kept = record(mode).gives_up(seat(1), 4, [(2, 100), (4, 300)]);
            assert_eq!(kept, Err(Keeps::Acknowledged(mode)));
        }
    }
}
