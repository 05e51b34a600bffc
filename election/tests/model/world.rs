//! A whole group as a value: machines as they are, disks, logs, connections, and the place. Everything that can happen next is a list.

use std::collections::BTreeSet;

use super::check::Step;
use rmq_election::machine::{
    BootMs, Config, Durable, Event, Machine, MemberProgress, NewGroup, Position, Progress, Rules,
    Timings,
};
use rmq_election::place::{
    AckMode, Incarnation, Member, MemberId, Phase, Policy, Record, Seat, UncleanElection, Version,
    Versioned,
};

/// What the log has when a check begins.
const BASE: u8 = 200;

/// A message, with the epoch in which its master has appended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    pub(crate) value: u8,
}

/// One member: process, disk, store and connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) id: usize,
    /// `None`: the process is down.
    pub(crate) machine: Option<Machine>,
    pub(crate) disk: Durable,
    /// How often the data has become other data.
    pub(crate) lives: u8,
    pub(crate) log: Vec<Entry>,
    /// In which epoch it is master; `None`: its store is a follower's.
    pub(crate) appends: Option<u64>,
    /// The newest epoch that its store has begun.
    pub(crate) begun: u64,
    /// Whom it copies from, and in which epoch.
    pub(crate) link: Option<(usize, u64)>,
    /// The last report on the way to a master: in which epoch, and up to where. It may come late, or twice.
    pub(crate) report: Option<(usize, u64, Seat, usize)>,
    pub(crate) required: Vec<Seat>,
    pub(crate) number: u64,
    pub(crate) positions: Vec<(Seat, usize)>,
    pub(crate) confirmed: usize,
    pub(crate) is_open: bool,
    /// Progress that was looked at and did not reach the machine yet.
    pub(crate) seen: Option<Progress>,
    /// The swap that is open.
    pub(crate) swap: Option<(Option<Version>, Record)>,
    /// The place is not reached.
    pub(crate) is_away: bool,
    /// The version that the member's last claim is about, in this life or before, while it may still take place as far as the member can
    /// know: it has no answer, has not read the record since, and the watch has shown no newer one.
    pub(crate) open_claim: Option<Version>,
}

impl Node {
    pub(crate) fn seat(&self) -> Seat {
        Seat {
            member: MemberId(self.id as u64),
            incarnation: self.disk.incarnation,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.log.last().map_or(0, |entry| entry.epoch),
            end: self.log.len() as u64,
        }
    }

    /// What is confirmed never falls.
    pub(crate) fn confirm(&mut self) {
        if self.appends.is_none() {
            return;
        }
        let of = |seat: &Seat| {
            let known = self.positions.iter().find(|(known, _)| known == seat);
            known.map_or(0, |(_, end)| *end)
        };
        let others = self.required.iter().map(of).min();
        let all = others.unwrap_or(usize::MAX).min(self.log.len());
        self.confirmed = self.confirmed.max(all);
    }
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Faults {
    /// Processes that end and start again.
    pub(crate) crashes: u8,
    /// Computers that lose what was not on their disks, all of it.
    pub(crate) power_cuts: u8,
    pub(crate) wiped_disks: u8,
    /// Swaps whose answers are lost.
    pub(crate) lost_answers: u8,
    /// Swaps that take place after they were given up.
    pub(crate) late_swaps: u8,
    /// Members that lose the way to the place, and get it back at any time.
    pub(crate) away: u8,
    /// Members that the others do not reach, until at any time they do again.
    pub(crate) cuts: u8,
    /// Clocks that jump past all deadlines.
    pub(crate) jumps: u8,
    /// Members that find an old master by themselves.
    pub(crate) stale_links: u8,
    /// The place loses the record.
    pub(crate) deletions: u8,
}

/// Rules that others than the machine keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OuterRules {
    /// A store refuses to copy from a master of a lower epoch than it has accepted.
    pub(crate) refuse_lower: bool,
    /// Data that lost its end is other data.
    pub(crate) dirty_is_other: bool,
}

/// What is checked, and how far.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) members: usize,
    pub(crate) rules: Rules,
    pub(crate) outer: OuterRules,
    pub(crate) faults: Faults,
    pub(crate) values: u8,
    /// Progress reaches the machine later than it is looked at.
    pub(crate) late_progress: bool,
    /// Members answer candidates.
    pub(crate) answers: bool,
    /// The group begins with all members in the set, or with one.
    pub(crate) all_in_sync: bool,
    pub(crate) swaps_max: u64,
    /// What has happened before the check begins.
    pub(crate) prefix: Vec<Step>,
    pub(crate) epochs_max: u64,
}

impl Model {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            members,
            rules: Rules {
                tell: false,
                ..Rules::ALL
            },
            outer: OuterRules {
                refuse_lower: true,
                dirty_is_other: true,
            },
            faults: Faults::default(),
            values: 2,
            late_progress: false,
            answers: false,
            all_in_sync: true,
            swaps_max: 6,
            prefix: Vec::new(),
            epochs_max: 3,
        }
    }
}

/// The state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) record: Option<Record>,
    pub(crate) version: u64,
    /// Swaps that were given up and may still take place.
    pub(crate) late: Vec<(Option<Version>, Record)>,
    /// Values that consumers may have seen and producers may have been told of.
    pub(crate) seen: BTreeSet<u8>,
    pub(crate) next_value: u8,
    /// The record was deleted, and nobody leads by a person's request yet.
    pub(crate) is_lost: bool,
    /// Whom the person has asked to begin it again.
    pub(crate) asked: Option<usize>,
    /// The highest epoch that the place has ever held.
    pub(crate) highest: u64,
    /// The epoch that a person has accepted a loss for. What masters of lower ones acknowledge meanwhile is part of it; that they do not is
    /// what leases are for (`timed.rs`).
    pub(crate) lossy: u64,
    /// Who was promoted in which epoch.
    pub(crate) masters: Vec<(u64, Seat)>,
    /// The member that the others do not reach.
    pub(crate) cut: Option<usize>,
    pub(crate) faults: Faults,
    /// A step that must never be.
    pub(crate) broken: Option<&'static str>,
}

pub(crate) fn timings() -> Timings {
    Timings {
        lease_ms: 1,
        renew_deadline_ms: 1_000,
        retry_ms: 1,
        lag_limit_ms: 1,
        silent_limit_ms: 1,
        // Who has closed its connection leaves the set as soon as that is seen.
        reconnect_limit_ms: 0,
        recover_limit_ms: 1,
        transfer_limit_ms: 1,
        drain_limit_ms: 1,
        ask_ms: 0,
        away_ms: 1_000,
    }
}

/// Members know their group, and make its record, where the record may be lost. One that has lost its own disk, too, takes the group for a
/// new one; it is the person who knows better.
pub(crate) fn config(model: &Model, node: &Node) -> Config {
    let is_wiped = node.lives > 0 && node.disk.epoch == 0;
    let group = (model.faults.deletions > 0 && !is_wiped).then(|| {
        let Record {
            members, policy, ..
        } = vacant(model.members, AckMode::InSync);
        NewGroup { members, policy }
    });
    Config {
        timings: timings(),
        group,
    }
}

pub(crate) fn vacant(members: usize, ack_mode: AckMode) -> Record {
    let members = (0..members as u64).map(|id| Member {
        id: MemberId(id),
        replication: String::new(),
        client: String::new(),
    });
    let policy = Policy {
        ack_mode,
        min_in_sync: 1,
    };
    Record::vacant(members.collect(), policy)
}

pub(crate) fn incarnation(id: usize, life: u8) -> Incarnation {
    Incarnation(id as u128 * 100 + u128::from(life))
}

impl World {
    /// A group that has started, with all rules.
    pub(crate) fn start(wanted: &Model) -> Self {
        let model = &Model {
            rules: Model::new(wanted.members).rules,
            ..wanted.clone()
        };
        let nodes = (0..model.members).map(|id| Node {
            id,
            machine: None,
            disk: Durable::begin(None, false, incarnation(id, 0).0),
            lives: 0,
            log: Vec::new(),
            appends: None,
            begun: 0,
            link: None,
            report: None,
            required: Vec::new(),
            number: 0,
            positions: Vec::new(),
            confirmed: 0,
            is_open: false,
            seen: None,
            swap: None,
            is_away: false,
            open_claim: None,
        });
        let mut world = Self {
            nodes: nodes.collect(),
            record: Some(vacant(model.members, AckMode::InSync)),
            version: 1,
            late: Vec::new(),
            seen: BTreeSet::new(),
            next_value: 0,
            is_lost: false,
            asked: None,
            highest: 0,
            lossy: 0,
            masters: Vec::new(),
            cut: None,
            faults: model.faults,
            broken: None,
        };
        let started = match model.all_in_sync {
            true => model.members,
            false => 1,
        };
        world.boot(model, 0);
        for _ in 0..4 {
            world.settle(model, 0);
        }
        world.append(0, BASE);
        for id in 1..started {
            world.boot(model, id);
        }
        for _ in 0..8 {
            (0..started).for_each(|id| world.settle(model, id));
        }
        let record = world.record.as_ref().expect("a record");
        assert_eq!(record.in_sync.len(), started, "{world:#?}");
        assert!(world.nodes[0].is_open, "{world:#?}");
        for id in started..model.members {
            world.boot(model, id);
        }
        for node in &mut world.nodes {
            if let Some(machine) = &mut node.machine {
                machine.set_rules(wanted.rules);
            }
        }
        for step in &wanted.prefix {
            wanted.take(&mut world, *step);
            assert_eq!(world.broken, None, "{step:?}");
        }
        world
    }

    fn settle(&mut self, model: &Model, id: usize) {
        if self.nodes[id].swap.is_some() {
            self.execute(model, id, true);
        }
        self.copy(id);
        self.deliver(model, id);
        self.hear(model, id);
        self.look(id);
        self.show(model, id);
        // A tick says to a master that nobody was heard, and to a replica that the master is gone.
        let is_stable = self
            .record
            .as_ref()
            .is_some_and(|record| record.phase == Phase::Stable);
        if !is_stable {
            self.tick(model, id);
        }
    }

    pub(crate) fn append(&mut self, id: usize, value: u8) {
        let epoch = self.nodes[id].begun;
        self.nodes[id].log.push(Entry { epoch, value });
        self.confirm(id);
    }

    pub(crate) fn current(&self) -> Option<Versioned<Record>> {
        self.record.clone().map(|value| Versioned {
            version: Version(self.version),
            value,
        })
    }

    pub(crate) fn is_reached(&self, from: usize, to: usize) -> bool {
        self.cut != Some(from) && self.cut != Some(to)
    }

    /// The place loses the record.
    pub(crate) fn delete(&mut self) {
        self.record = None;
        self.version += 1;
        self.is_lost = true;
    }

    /// A person has a member begin the record again, and accepts the loss.
    pub(crate) fn ask(&mut self, model: &Model, id: usize) {
        let mut record = vacant(model.members, AckMode::InSync);
        record.unclean = Some(UncleanElection {
            to: MemberId(id as u64),
            request: String::new(),
            accept_loss: true,
        });
        self.asked = Some(id);
        self.record = Some(record);
        self.version += 1;
    }

    /// How much of two logs is the same. They are compared by their epochs, never by what is in them.
    pub(crate) fn common(&self, id: usize, other: usize) -> usize {
        let pairs = self.nodes[id].log.iter().zip(&self.nodes[other].log);
        pairs.take_while(|(a, b)| a.epoch == b.epoch).count()
    }

    /// Copies all that the master has, and sends the report.
    pub(crate) fn copy(&mut self, id: usize) {
        let node = &self.nodes[id];
        let Some((from, epoch)) = node.link else {
            return;
        };
        let master = &self.nodes[from];
        let serves = master.machine.is_some() && master.appends == Some(epoch);
        if node.machine.is_none() || !serves || !self.is_reached(id, from) {
            return;
        }
        let theirs = master.log.clone();
        let common = self.common(id, from);
        let node = &mut self.nodes[id];
        if node.appends.is_none() {
            node.log.truncate(common);
            node.log.extend(&theirs[common..]);
        }
        node.report = Some((from, epoch, node.seat(), node.log.len()));
    }

    /// Brings a report to its master. It stays on the way: it may come again.
    pub(crate) fn deliver(&mut self, _model: &Model, id: usize) {
        let Some((to, epoch, seat, end)) = self.nodes[id].report else {
            return;
        };
        let master = &mut self.nodes[to];
        if master.machine.is_none() || master.appends != Some(epoch) {
            return;
        }
        // A position that the master does not have is not believed.
        let end = end.min(master.log.len());
        match master
            .positions
            .iter_mut()
            .find(|(known, _)| *known == seat)
        {
            Some((_, known)) => *known = end,
            None => {
                master.positions.push((seat, end));
                master.positions.sort_unstable();
            }
        }
        self.confirm(to);
    }

    pub(crate) fn confirm(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        node.confirm();
        if node.appends.is_some_and(|epoch| epoch < self.lossy) {
            return;
        }
        let confirmed = node.log.iter().take(node.confirmed);
        self.seen.extend(confirmed.map(|entry| entry.value));
    }

    /// Looks where the members are.
    pub(crate) fn look(&mut self, id: usize) {
        let node = &self.nodes[id];
        if node.appends.is_none() || node.machine.is_none() {
            return;
        }
        let members = node.positions.iter().map(|(seat, end)| {
            let other = &self.nodes[seat.member.0 as usize];
            MemberProgress {
                seat: *seat,
                stored: *end as u64,
                connected: other.machine.is_some()
                    && other.seat() == *seat
                    && other.link == node.appends.map(|epoch| (id, epoch))
                    && self.is_reached(id, other.id),
                closed: self.is_reached(id, other.id),
                partial: false,
            }
        });
        self.nodes[id].seen = Some(Progress {
            required: node.number,
            confirmed: node.confirmed as u64,
            end: node.log.len() as u64,
            members: members.collect(),
        });
    }

    /// Brings the progress to the machine.
    pub(crate) fn show(&mut self, model: &Model, id: usize) {
        if let Some(progress) = self.nodes[id].seen.take() {
            self.event(model, id, Event::Progress(progress), BootMs(0));
        }
    }

    /// The watch shows the record.
    pub(crate) fn hear(&mut self, model: &Model, id: usize) {
        let record = self.current();
        let version = Version(self.version);
        let node = &mut self.nodes[id];
        node.open_claim = node.open_claim.filter(|claimed| *claimed == version);
        self.event(model, id, Event::Changed(record), BootMs(0));
    }

    pub(crate) fn tick(&mut self, model: &Model, id: usize) {
        let wake = self.nodes[id]
            .machine
            .as_ref()
            .and_then(|machine| machine.wake(BootMs(0)));
        if let Some(wake) = wake {
            self.event(model, id, Event::Tick, wake);
        }
    }
}
