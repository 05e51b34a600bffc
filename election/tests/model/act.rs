//! What a machine wants is done, and its answers come back, as far as they come at once.

use std::collections::VecDeque;

use rmq_election::machine::{
    Action, BootMs, Durable, Event, LeaseSwapped, Machine, State, Swapped,
};
use rmq_election::place::{
    Incarnation, Lease, MemberId, Reason, Record, Seat, Swap, Version, Versioned,
};

use super::world::{Model, World, config, incarnation};

/// The lease says nothing here: from the first tick on everybody takes it at any time, as if all clocks were wrong. Safety must not need it.
const LEASE: Version = Version(1);
const NOBODY: Seat = Seat {
    member: MemberId(99),
    incarnation: Incarnation(0),
};

impl World {
    pub(crate) fn boot(&mut self, model: &Model, id: usize) {
        let node = &mut self.nodes[id];
        let machine = Machine::with_rules(
            MemberId(id as u64),
            config(model, node),
            node.disk.clone(),
            model.rules,
        );
        node.machine = Some(machine);
        node.appends = None;
        node.is_open = false;
        self.event(model, id, Event::Started { partial: false }, BootMs(0));
    }

    /// The process ends. A swap that is open may still take place.
    pub(crate) fn crash(&mut self, id: usize, keeps_swap: bool) {
        let node = &mut self.nodes[id];
        node.machine = None;
        node.appends = None;
        node.link = None;
        node.is_open = false;
        node.required.clear();
        node.number = 0;
        node.positions.clear();
        node.confirmed = 0;
        node.seen = None;
        let swap = node.swap.take();
        if keeps_swap {
            self.late.extend(swap);
        }
    }

    /// All that was not on the disk is gone, and the disk has nothing but the state of the election.
    pub(crate) fn lose_power(&mut self, model: &Model, id: usize) {
        self.crash(id, false);
        let node = &mut self.nodes[id];
        node.log.clear();
        node.lives += 1;
        if model.outer.dirty_is_other {
            let random = incarnation(id, node.lives).0;
            node.disk = Durable::begin(Some(node.disk.clone()), true, random);
        }
    }

    pub(crate) fn wipe(&mut self, id: usize) {
        self.crash(id, false);
        let node = &mut self.nodes[id];
        node.log.clear();
        node.lives += 1;
        node.disk = Durable::begin(None, false, incarnation(id, node.lives).0);
        // Whatever is claimed is claimed by nobody any more.
        node.open_claim = None;
    }

    /// Gives an event to a machine at a moment of its clock, and everything that follows at once.
    pub(crate) fn event(&mut self, model: &Model, id: usize, event: Event, now: BootMs) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let position = self.nodes[id].position();
            let Some(machine) = &mut self.nodes[id].machine else {
                return;
            };
            let mut actions = machine.step(Event::Log(position), now);
            actions.extend(machine.step(event, now));
            // Answers of members come before those of the place: a candidate decides when it has the latter.
            actions.sort_by_key(|action| !matches!(action, Action::Ask { .. }));
            for action in actions {
                self.act(model, id, action, now, &mut events);
            }
        }
        if let Some(machine) = &mut self.nodes[id].machine {
            machine.rebase(now);
        }
    }

    fn act(
        &mut self,
        model: &Model,
        id: usize,
        action: Action,
        now: BootMs,
        events: &mut VecDeque<Event>,
    ) {
        let is_away = self.nodes[id].is_away;
        match action {
            Action::ReadPlace if is_away => events.push_back(Event::ReadFailed),
            Action::ReadPlace => {
                self.nodes[id].open_claim = None;
                events.push_back(Event::Read(self.current()));
            }
            Action::ReadLease if is_away => events.push_back(Event::LeaseReadFailed),
            Action::ReadLease => {
                let value = Lease {
                    holder: Some(NOBODY),
                    renewals: 0,
                    duration_ms: 1,
                };
                let lease = Versioned {
                    version: LEASE,
                    value,
                };
                events.push_back(Event::LeaseRead(Some(lease)));
            }
            Action::SwapLease { .. } if is_away => {
                events.push_back(Event::LeaseSwapped(LeaseSwapped::Failed));
            }
            Action::SwapLease { .. } => {
                let won = LeaseSwapped::Known(Swap::Won(LEASE));
                events.push_back(Event::LeaseSwapped(won));
            }
            Action::Swap { expected, next } => {
                let node = &mut self.nodes[id];
                let machine = node.machine.as_ref();
                if machine.is_some_and(|it| it.state() == State::Claiming) {
                    node.open_claim = expected;
                }
                node.swap = Some((expected, *next));
            }
            Action::Save(durable) => {
                self.nodes[id].disk = durable.clone();
                events.push_back(Event::Saved(durable));
            }
            Action::Follow { master, epoch } => {
                let from = master.seat.member.0 as usize;
                // It connects with what it has of the master's log.
                let common = self.common(id, from);
                let node = &mut self.nodes[id];
                node.link = Some((from, epoch));
                node.report = Some((from, epoch, node.seat(), common));
            }
            Action::Unfollow => self.nodes[id].link = None,
            Action::Promote { epoch } => self.promote(id, epoch, events),
            Action::Require { number, members } => {
                let node = &mut self.nodes[id];
                node.required = members;
                node.number = number;
                self.confirm(id);
            }
            Action::OpenWrites { .. } => self.nodes[id].is_open = true,
            Action::CloseWrites { .. } => self.nodes[id].is_open = false,
            Action::ServeUntil(_) | Action::Answer { .. } | Action::Tell(_) => {}
            Action::Fence { .. } => {
                let node = &mut self.nodes[id];
                node.appends = None;
                node.is_open = false;
                node.required.clear();
                node.number = 0;
                node.positions.clear();
                node.confirmed = 0;
                node.seen = None;
                events.push_back(Event::Fenced);
            }
            Action::Ask {
                round,
                members,
                question,
            } if model.answers => {
                for member in members {
                    let other = member.id.0 as usize;
                    if !self.is_reached(id, other) {
                        continue;
                    }
                    let position = self.nodes[other].position();
                    let Some(machine) = &mut self.nodes[other].machine else {
                        continue;
                    };
                    let mut answers = machine.step(Event::Log(position), BootMs(0));
                    answers.extend(machine.step(Event::Asked { id: 0, question }, BootMs(0)));
                    for answer in answers {
                        if let Action::Answer { standing, .. } = answer {
                            events.push_back(Event::Answered { round, standing });
                        }
                    }
                }
            }
            Action::Ask { .. } => {}
        }
        let _ = now;
    }

    /// The store becomes a master's: this is where a loss shows.
    fn promote(&mut self, id: usize, epoch: u64, events: &mut VecDeque<Event>) {
        let node = &mut self.nodes[id];
        let Some(claimed) = node.machine.as_ref().and_then(Machine::mastership) else {
            return;
        };
        node.appends = Some(claimed);
        node.begun = epoch;
        let start = node.log.len() as u64;
        let has = |value: &u8| node.log.iter().any(|entry| entry.value == *value);
        let declared = self.record.as_ref().is_some_and(|record| {
            let terms = record.history.iter().filter(|term| term.epoch == claimed);
            let mut reasons = terms.map(|term| term.reason);
            reasons.any(|reason| reason.may_lose(record.policy.ack_mode))
        });
        if declared {
            self.seen.retain(has);
        } else if !self.seen.iter().all(has) {
            self.broken = Some("a master lacks what was acknowledged");
        }
        let seat = self.nodes[id].seat();
        if self
            .masters
            .iter()
            .any(|(known, master)| *known == claimed && *master != seat)
        {
            self.broken = Some("two masters of one epoch");
        }
        self.masters.push((claimed, seat));
        self.masters.sort_unstable();
        self.masters.dedup();
        events.push_back(Event::Promoted {
            epoch: claimed,
            start,
        });
        self.confirm(id);
    }

    /// The place carries the open swap out; the answer comes or is lost.
    pub(crate) fn execute(&mut self, model: &Model, id: usize, is_answered: bool) {
        let Some((expected, next)) = self.nodes[id].swap.take() else {
            return;
        };
        let is_won = self.compare_and_swap(expected, next);
        if is_answered {
            self.nodes[id].open_claim = None;
        }
        let swapped = match (is_answered, is_won) {
            (false, _) => Swapped::Unknown,
            (true, true) => Swapped::Known(Swap::Won(Version(self.version))),
            (true, false) => Swapped::Known(Swap::Lost(self.current())),
        };
        self.event(model, id, Event::Swapped(swapped), BootMs(0));
    }

    pub(crate) fn compare_and_swap(&mut self, expected: Option<Version>, next: Record) -> bool {
        let current = self.record.as_ref().map(|_| Version(self.version));
        if current != expected {
            return false;
        }
        let is_claim = next.epoch > 0
            && self
                .record
                .as_ref()
                .is_none_or(|record| record.master != next.master || next.epoch != record.epoch);
        if is_claim && next.epoch <= self.highest {
            self.broken = Some("an epoch was used again");
        }
        if is_claim && self.is_lost {
            let reason = next.history.last().map(|term| term.reason);
            let master = next.master.map(|master| master.member.0 as usize);
            if reason != Some(Reason::Unclean) || master != self.asked {
                self.broken = Some("a lost record was begun again without a person");
            }
            self.is_lost = false;
            self.asked = None;
            self.lossy = next.epoch;
        }
        self.highest = self.highest.max(next.epoch);
        self.declare_loss(&next);
        self.record = Some(next);
        self.version += 1;
        true
    }

    /// A claim whose reason says that messages may be lost: what the claimant has is all that there is from then on.
    fn declare_loss(&mut self, next: &Record) {
        let is_claim = self
            .record
            .as_ref()
            .is_none_or(|record| record.epoch != next.epoch);
        let reason = next.history.last().map(|term| term.reason);
        let is_declared = reason.is_some_and(|reason| reason.may_lose(next.policy.ack_mode));
        if let (true, true, Some(master)) = (is_claim, is_declared, next.master) {
            let log = &self.nodes[master.member.0 as usize].log;
            self.seen
                .retain(|value| log.iter().any(|entry| entry.value == *value));
        }
    }
}
