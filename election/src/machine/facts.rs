//! What people are shown.

use std::collections::BTreeSet;
use std::fmt;

use crate::place::{MemberId, Record, Seat};

use super::action::Action;
use super::event::BootMs;
use super::finding::Finding;
use super::reason::{NotEligible, WritesClosed};
use super::state::{Machine, Mastership, Role, Stage, Writes};

/// In which state a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It has not read the record yet.
    Joining,
    /// It copies, and does not have all that is confirmed.
    OutOfSync,
    /// It is in the in-sync set.
    InSync,
    /// It is claiming the next epoch.
    Claiming,
    /// It has claimed the epoch and gets ready.
    Recovering,
    /// It is the master.
    Active,
    /// It was the master, and its store is being opened as a follower's.
    Fenced,
}

/// What people are shown of a member's part in the election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who it is.
    pub me: Seat,
    /// In which state.
    pub state: State,
    /// The record as the member knows it; `None` before the first look.
    pub record: Option<Record>,
    /// Whether the place is not reached.
    pub place_away: bool,
    /// A master's: why it takes no writes; `None` when it takes them, or is no master.
    pub writes_closed: Option<WritesClosed>,
    /// A master's: whether it serves on the promises of the members, without the place.
    pub failsafe: bool,
    /// A master's: how long it may still serve, milliseconds.
    pub serves_for_ms: u64,
    /// A master's: the other members.
    pub members: Vec<MemberFacts>,
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
}

/// A member as its master sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberFacts {
    /// Who.
    pub seat: Seat,
    /// Whether the record has it in the in-sync set.
    pub in_sync: bool,
    /// Whether it is connected.
    pub connected: bool,
    /// How far it is behind the end of the master's log, bytes. With acknowledgements by the master alone, that is what is lost at most
    /// when this member becomes the master.
    pub lag_bytes: u64,
    /// Whether it lacks history and cannot be master.
    pub partial: bool,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::OutOfSync => "replica, out of sync",
            Self::InSync => "replica, in sync",
            Self::Claiming => "claiming",
            Self::Recovering => "master, recovering",
            Self::Active => "master",
            Self::Fenced => "fenced",
        })
    }
}

impl Machine {
    /// In which state the member is.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.role {
            Role::Joining { .. } => State::Joining,
            Role::Replica(_) if self.is_in_set() => State::InSync,
            Role::Replica(_) => State::OutOfSync,
            Role::Claiming(_) => State::Claiming,
            Role::Master(master) if master.stage == Stage::Active => State::Active,
            Role::Master(_) => State::Recovering,
            Role::Fenced { .. } => State::Fenced,
        }
    }

    /// The epoch in which the member is master; `None` when it is none.
    #[must_use]
    pub fn mastership(&self) -> Option<u64> {
        match &self.role {
            Role::Master(master) => Some(master.epoch),
            Role::Joining { .. } | Role::Replica(_) | Role::Claiming(_) | Role::Fenced { .. } => {
                None
            }
        }
    }

    /// Whether the master waits for its members, and the driver looks at them often.
    #[must_use]
    pub fn looks_closely(&self) -> bool {
        matches!(&self.role, Role::Master(master) if master.looks_closely())
    }

    /// The highest epoch that the member has accepted, whose master it may follow.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.durable.epoch
    }

    /// What people are shown.
    #[must_use]
    pub fn facts(&self, now: BootMs) -> Facts {
        let master = match &self.role {
            Role::Master(master) => Some(master.as_ref()),
            Role::Joining { .. } | Role::Replica(_) | Role::Claiming(_) | Role::Fenced { .. } => {
                None
            }
        };
        let failsafe = master.is_some_and(Mastership::is_failsafe);
        let in_sync = |seat| {
            self.current()
                .is_some_and(|record| record.has_in_sync(seat))
        };
        let members = master.map_or_else(Vec::new, |master| {
            let members = master.peers.iter().map(|peer| MemberFacts {
                seat: peer.seat,
                in_sync: in_sync(peer.seat),
                connected: peer.connected,
                lag_bytes: master.progress.end.saturating_sub(peer.stored),
                partial: peer.partial,
            });
            members.collect()
        });
        let mut findings: Vec<Finding> = self.findings(now).into_iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
        Facts {
            me: self.me,
            state: self.state(),
            record: self.current().cloned(),
            // A master renews its lease there, and reads the record seldom.
            place_away: self.link.is_away || failsafe,
            writes_closed: master.and_then(|master| match master.writes {
                Writes::Closed(why) => Some(why),
                Writes::NotYet | Writes::Open => None,
            }),
            failsafe,
            serves_for_ms: master.map_or(0, |master| master.serve_until.since(now)),
            members,
            findings,
        }
    }

    /// What is not as it should be.
    fn findings(&self, now: BootMs) -> BTreeSet<Finding> {
        let mut found = BTreeSet::new();
        if self.disk_failed {
            found.insert(Finding::DiskFailed);
        }
        if self.link.is_away {
            found.insert(Finding::PlaceAway);
        }
        if self.link.is_gone {
            found.insert(Finding::RecordGone);
        }
        if !self.durable.former.is_empty() {
            found.insert(Finding::Dirty);
        }
        let Some(record) = self.current() else {
            return found;
        };
        if record.member(self.me.member).is_none() {
            found.insert(Finding::NotAMember);
        }
        let ack_mode = record.policy.ack_mode;
        let lossy = record
            .history
            .iter()
            .rev()
            .find(|term| term.reason.may_lose(ack_mode));
        found.extend(lossy.map(|term| Finding::DataLossPossible {
            epoch: term.epoch,
            from: term.start,
        }));
        match &self.role {
            Role::Master(master) => self.findings_of_master(master, record, &mut found),
            Role::Replica(replica) if self.is_lease_gone(now) => {
                if let Err(because) = self.right(replica, &[], now) {
                    let epoch = record.epoch;
                    found.insert(Finding::NoMaster { epoch, because });
                } else if self.link.is_away {
                    found.insert(Finding::NoMaster {
                        epoch: record.epoch,
                        because: NotEligible::PlaceAway,
                    });
                }
            }
            Role::Joining { .. } | Role::Replica(_) | Role::Claiming(_) | Role::Fenced { .. } => {}
        }
        found
    }

    fn findings_of_master(
        &self,
        master: &Mastership,
        record: &Record,
        found: &mut BTreeSet<Finding>,
    ) {
        if master.is_failsafe() {
            found.insert(Finding::Failsafe {
                epoch: master.epoch,
            });
        }
        if let Writes::Closed(WritesClosed::BelowMinimum {
            in_sync,
            min_in_sync,
        }) = master.writes
        {
            found.insert(Finding::BelowMinimum {
                in_sync,
                min_in_sync,
            });
        }
        let is_in = |id: MemberId| record.in_sync.iter().any(|seat| seat.member == id);
        let out = record.members.iter().filter(|member| !is_in(member.id));
        found.extend(out.map(|member| Finding::OutOfSet { member: member.id }));
        for peer in &master.peers {
            let known = record
                .in_sync
                .iter()
                .find(|seat| seat.member == peer.seat.member && **seat != peer.seat);
            if let (true, Some(known)) = (peer.connected, known) {
                found.insert(Finding::OtherIncarnation {
                    known: *known,
                    now: peer.seat,
                });
            }
        }
    }

    /// Tells what has come up since the last step.
    pub(super) fn tell(&mut self, now: BootMs, out: &mut Vec<Action>) {
        if !self.rules.tell {
            return;
        }
        let found = self.findings(now);
        let news = found.difference(&self.told);
        out.extend(news.cloned().map(Action::Tell));
        self.told = found;
    }
}

impl Mastership {
    fn is_failsafe(&self) -> bool {
        self.failsafe
            .as_ref()
            .is_some_and(|failsafe| failsafe.holds)
    }
}
