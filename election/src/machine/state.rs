//! What a member knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::place::{Lease, Member, Reason, Record, Seat, Version, Versioned};

use super::config::Config;
use super::durable::{Durable, Master};
use super::event::{BootMs, Position, Progress, Standing};
use super::finding::Finding;
use super::reason::WritesClosed;
use super::rules::Rules;

/// The state machine of one member: see the [module](super).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) me: Seat,
    pub(super) config: Arc<Config>,
    pub(super) rules: Rules,
    /// What is on disk, and what is being written.
    pub(super) durable: Durable,
    pub(super) saving: Option<Durable>,
    /// Nothing can be saved any more; only a start helps.
    pub(super) disk_failed: bool,
    pub(super) partial: bool,
    /// Its store could not be made a master's.
    pub(super) is_unfit: bool,
    /// It was told to stop.
    pub(super) is_stopping: bool,
    pub(super) log: Position,
    /// The newest record that was seen.
    pub(super) record: Option<Versioned<Record>>,
    pub(super) lease: LeaseView,
    pub(super) link: Link,
    /// The highest epoch that anybody has shown.
    pub(super) highest: u64,
    /// No claim before this moment: a master has the promise.
    pub(super) promised_until: BootMs,
    /// The number of the last round of questions.
    pub(super) round: u64,
    pub(super) role: Role,
    pub(super) told: BTreeSet<Finding>,
}

/// What is known of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct LeaseView {
    pub(super) seen: Option<Versioned<Lease>>,
    /// When its holder counts as gone, unless it changes before; `None`: nobody has looked yet.
    pub(super) gone_at: Option<BootMs>,
    pub(super) reading: bool,
    /// A swap is open; a renewal that it brings counts until this moment.
    pub(super) swapping: Option<BootMs>,
    /// What that swap does: hold the lease, or release it.
    pub(super) holding: bool,
}

/// The way to the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Link {
    pub(super) reading: bool,
    /// The record was read since the start, or since the last event that makes another look necessary.
    pub(super) is_fresh: bool,
    /// No read before this moment.
    pub(super) read_at: BootMs,
    /// The last answer was an error.
    pub(super) is_away: bool,
    /// The record was read and there was none.
    pub(super) is_gone: bool,
    /// The swap that is open.
    pub(super) swapping: Option<Attempt>,
    /// Swaps of this version whose results are not known.
    pub(super) unknown: Option<Option<Version>>,
}

/// A swap of the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) expected: Option<Version>,
    pub(super) next: Record,
}

/// Which role a member has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Nothing was read since the start. With the place away it may follow the master that it followed before.
    Joining {
        following: bool,
    },
    Replica(Replica),
    Claiming(Claim),
    Master(Box<Mastership>),
    /// The store is being opened again; then the member joins.
    Fenced {
        epoch: u64,
    },
}

/// What a replica knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Replica {
    pub(super) following: Option<(Master, u64)>,
    /// The process of the master of this epoch has ended.
    pub(super) gone: Option<u64>,
    pub(super) candidate: Candidate,
    /// How often it has left the claim to a better one.
    pub(super) yielded: u8,
    /// When the others may claim although the record names the target of a switchover.
    pub(super) target_late_at: Option<BootMs>,
    /// When a member with an empty log may be the first master of a group.
    pub(super) first_at: Option<BootMs>,
}

/// How far a candidate is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) enum Candidate {
    #[default]
    No,
    /// Record and lease are being read again, and the others are asked.
    Looking {
        round: u64,
        until: BootMs,
        answers: Vec<Standing>,
        has_record: bool,
        has_lease: bool,
    },
    /// Another one is better, or something failed: look again then.
    Waiting { until: BootMs },
}

/// A claim that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) step: ClaimStep,
    /// The record that the claim is about.
    pub(super) base: Version,
    pub(super) in_sync_version: u64,
    pub(super) epoch: u64,
    pub(super) reason: Reason,
    /// A claim of a set whose members have all lost their ends, or of a person: the set becomes the claimant alone.
    pub(super) alone: bool,
    /// Until when the lease that was taken for it allows to serve.
    pub(super) serve_until: BootMs,
    pub(super) has_lease: bool,
}

/// What a claim waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClaimStep {
    Marking,
    Leasing,
    Swapping,
    /// The result is not known.
    Reading,
    /// Given up; the marker is being removed.
    Unmarking,
}

/// What a master knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Mastership {
    pub(super) epoch: u64,
    pub(super) stage: Stage,
    /// Where the epoch begins.
    pub(super) start: u64,
    /// Members that swaps would bring into the set whose results are not known.
    pub(super) offered: BTreeSet<Seat>,
    /// Members that are waited for before they are offered, with the list that named them first.
    pub(super) joining: Vec<(Seat, u64)>,
    /// The last list of required members, and its number.
    pub(super) required: Vec<Seat>,
    pub(super) number: u64,
    pub(super) progress: Progress,
    pub(super) peers: Vec<Peer>,
    /// Ends that the log had, rising.
    pub(super) marks: Vec<LogMark>,
    /// Until when it may serve.
    pub(super) serve_until: BootMs,
    pub(super) renew_at: BootMs,
    /// When renewals that fail make it ask the members.
    pub(super) away_at: BootMs,
    pub(super) failsafe: Option<Failsafe>,
    pub(super) writes: Writes,
    pub(super) transfer: Option<Transfer>,
}

/// How far a new master is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The epoch is being saved.
    Saving,
    /// The store is being made a master's.
    Promoting,
    /// The members of the set are coming; those that are not there then leave it.
    Gathering {
        until: BootMs,
    },
    Active,
}

/// A member as its master sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) seat: Seat,
    pub(super) stored: u64,
    pub(super) connected: bool,
    pub(super) partial: bool,
    /// It has closed its connection itself, and has no other.
    pub(super) closed: bool,
    /// When it counts as silent, unless it connects before.
    pub(super) silent_at: BootMs,
    /// When it counts as gone if it has closed its connection itself, unless it connects before.
    pub(super) gone_at: BootMs,
}

/// Where the log ended at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LogMark {
    /// Who lacks it from then on is behind.
    pub(super) late_at: BootMs,
    pub(super) end: u64,
}

/// A round of promises.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Failsafe {
    pub(super) round: u64,
    /// Who has not promised yet.
    pub(super) missing: BTreeSet<Seat>,
    /// Until when all promises together allow to serve.
    pub(super) serve_until: BootMs,
    pub(super) next_at: BootMs,
    /// The last round was complete.
    pub(super) holds: bool,
}

/// Whether writes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Writes {
    NotYet,
    Open,
    Closed(WritesClosed),
}

/// A switchover that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) step: TransferStep,
    /// When it is taken back.
    pub(super) until: BootMs,
}

/// How far a switchover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TransferStep {
    /// The target is not ready yet.
    Waiting,
    /// Writes are closed; the target gets the end of the log, which is known with the first progress after that.
    Draining { end_is_known: bool },
    /// The record announces the target; the lease is being released.
    Announced,
    /// The lease is free.
    Released,
    /// The target did not come: the record names no target any more, and the lease is being taken again.
    TakingBack,
}

impl Machine {
    /// A member that has just started: the first event is [`Started`](super::Event::Started). `durable` comes from
    /// [`Durable::begin`] and is saved.
    #[must_use]
    pub fn new(member: crate::place::MemberId, config: Config, durable: Durable) -> Self {
        Self::with_rules(member, config, durable, Rules::ALL)
    }

    /// A member that may lack rules.
    #[doc(hidden)]
    #[must_use]
    pub fn with_rules(
        member: crate::place::MemberId,
        config: Config,
        durable: Durable,
        rules: Rules,
    ) -> Self {
        Self {
            me: Seat {
                member,
                incarnation: durable.incarnation,
            },
            config: Arc::new(config),
            rules,
            highest: durable.epoch,
            durable,
            saving: None,
            disk_failed: false,
            partial: false,
            is_unfit: false,
            is_stopping: false,
            log: Position::default(),
            record: None,
            lease: LeaseView::default(),
            link: Link::default(),
            promised_until: BootMs::default(),
            round: 0,
            role: Role::Joining { following: false },
            told: BTreeSet::new(),
        }
    }

    /// The same member with other rules.
    #[doc(hidden)]
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How long things take.
    #[must_use]
    pub fn timings(&self) -> super::config::Timings {
        self.config.timings
    }

    /// Who this member is.
    #[must_use]
    pub fn me(&self) -> Seat {
        self.me
    }

    /// The newest record.
    pub(super) fn current(&self) -> Option<&Record> {
        self.record.as_ref().map(|record| &record.value)
    }

    /// Whether a seat of the set is this member's.
    pub(super) fn is_me(&self, seat: Seat) -> bool {
        match self.rules.incarnation_checked {
            true => seat == self.me,
            false => seat.member == self.me.member,
        }
    }

    /// Whether this member is in the in-sync set.
    pub(super) fn is_in_set(&self) -> bool {
        let record = self.current();
        record.is_some_and(|record| record.in_sync.iter().any(|seat| self.is_me(*seat)))
    }

    /// The address of the master that the record names, if it is another member.
    pub(super) fn named_master(&self) -> Option<Master> {
        let record = self.current()?;
        let seat = record
            .master
            .filter(|master| master.member != self.me.member)?;
        let replication = record
            .member(seat.member)
            .map(|member| member.replication.clone())
            .unwrap_or_default();
        Some(Master { seat, replication })
    }

    /// Members of a set that can be asked: all but this one.
    pub(super) fn addresses(&self, of: impl Fn(&Member) -> bool) -> Vec<Member> {
        let members = self.current().map(|record| record.members.as_slice());
        let others = members.unwrap_or_default().iter();
        others
            .filter(|member| member.id != self.me.member && of(member))
            .cloned()
            .collect()
    }
}
