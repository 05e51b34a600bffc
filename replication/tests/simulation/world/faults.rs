//! What goes wrong, and how the world ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use rmq_election::machine::Durable;
use rmq_election::place::{MemberId, Seat, Switchover};
use rmq_store::fs::{Crash, SimulatedDisk};

use super::network::Part;
use super::{Happening, MEMBERS, World};
use crate::checker::Stored;
use crate::mistakes::Mistake;
use crate::node::Role;

impl World {
    pub(super) fn fault(&mut self) {
        let member = self.random.below(MEMBERS as u64) as usize;
        let other = (member + 1 + self.random.below(MEMBERS as u64 - 1) as usize) % MEMBERS;
        match self.random.below(20) {
            0 | 1 => self.crash(member),
            2 | 3 => {
                if self.is_spare(member) {
                    let crash = match self.random.chance(2) {
                        true => Crash::PowerLoss,
                        false => Crash::Torn {
                            seed: self.random.next(),
                        },
                    };
                    self.end_life(member, crash);
                    let delay = self.random.between(10, 2_500);
                    self.later(delay, Happening::Start { member });
                }
            }
            4 => {
                if self.is_spare(member) {
                    self.end_life(member, Crash::PowerLoss);
                    self.note(&format!("member {member} gets an empty disk"));
                    let seed = self.random.next();
                    self.nodes[member].disk = SimulatedDisk::with_seed(seed);
                    if !self.setting.makes(Mistake::KeepsWipedSeat) {
                        self.nodes[member].saved = None;
                    }
                    self.nodes[member].open_claim = None;
                    self.nodes[member].accepted = 0;
                    let delay = self.random.between(10, 1_000);
                    self.later(delay, Happening::Start { member });
                }
            }
            5 => {
                self.note(&format!("{member} and {other} are parted"));
                self.cut.extend([(member, other), (other, member)]);
            }
            6 => {
                self.note(&format!("nothing gets from {member} to {other}"));
                self.cut.insert((member, other));
            }
            7 => {
                self.note(&format!("member {member} is alone"));
                for other in (0..MEMBERS).filter(|other| *other != member) {
                    self.cut.extend([(member, other), (other, member)]);
                }
                if self.random.chance(2) {
                    self.cut_to_place.insert(member);
                    self.cut_from_place.insert(member);
                }
            }
            8 => {
                self.note(&format!("member {member} does not reach the place"));
                self.cut_to_place.insert(member);
            }
            9 => {
                self.note(&format!("the place does not reach member {member}"));
                self.cut_from_place.insert(member);
            }
            10 => {
                self.note("the place is away");
                self.cut_to_place.extend(0..MEMBERS);
            }
            11 | 15 => {
                let ms = self.random.between(20, 4_000);
                // Under load something is always on its way.
                self.send();
                self.note(&format!("member {member} stands still for {ms} ms"));
                self.nodes[member].paused_until = self.now + ms;
                if self.clocks_jump {
                    // Its computer sleeps, and nobody has corrected its clock yet.
                    self.nodes[member]
                        .wall_ahead
                        .fetch_sub(ms as i64, Ordering::Relaxed);
                }
            }
            12 if self.clocks_jump => {
                let ms = self.random.between(1, 5_000) as i64;
                let ahead = if self.random.chance(2) { ms } else { -ms };
                self.note(&format!(
                    "the wall clock of member {member} jumps by {ahead} ms"
                ));
                self.nodes[member]
                    .wall_ahead
                    .fetch_add(ahead, Ordering::Relaxed);
            }
            13 if self.clocks_jump => {
                let ms = self.random.between(1, 3_000);
                self.note(&format!(
                    "the boot clock of member {member} jumps by {ms} ms"
                ));
                self.nodes[member].boot_ahead += ms;
                self.has_jumped = true;
            }
            14 => self.ask_switchover(other),
            16 => {
                self.note(&format!(
                    "member {member} reaches neither the place nor {other}"
                ));
                self.cut.extend([(member, other), (other, member)]);
                self.cut_to_place.insert(member);
                self.cut_from_place.insert(member);
            }
            17 => {
                self.note(&format!("the place is slow to answer member {member}"));
                self.slow = Some(member);
            }
            _ => {
                self.note("all links are well");
                self.cut.clear();
                self.cut_to_place.clear();
                self.cut_from_place.clear();
                self.slow = None;
                for member in 0..MEMBERS {
                    self.watched(member);
                }
            }
        }
    }

    pub(super) fn crash(&mut self, member: usize) {
        self.end_life(member, Crash::Kill);
        let delay = self.random.between(10, 2_500);
        self.later(delay, Happening::Start { member });
    }

    /// A process ends while it is not known yet whether its claim takes place, perhaps on the way to the place as well.
    pub(super) fn crash_in_claim(&mut self, member: usize, life: u64) {
        if self.faults && self.random.chance(8) {
            let delay = self.random.below(4);
            self.later(delay, Happening::Crash { member, life });
            if self.random.chance(2) {
                self.note(&format!("member {member} does not reach the place"));
                self.cut_to_place.insert(member);
            }
        }
    }

    /// A person wants another master.
    fn ask_switchover(&mut self, to: usize) {
        let Some(record) = self.place.record.clone() else {
            return;
        };
        self.note(&format!("member {to} shall be the master"));
        let mut next = record.value;
        next.switchover = Some(Switchover {
            to: MemberId(to as u64),
            request: format!("at {}", self.now),
        });
        self.place.swap(Some(record.version), next);
        for member in 0..MEMBERS {
            self.watched(member);
        }
    }

    /// Whether the group has all that it promised without this member's disk.
    pub(super) fn is_spare(&self, member: usize) -> bool {
        if self.setting.mode.is_flushed() && self.place.record.is_none() {
            return true;
        }
        let Some(record) = &self.place.record else {
            return false;
        };
        let holds = |seat: &Seat| {
            let at = seat.member.0 as usize;
            let saved = self.nodes[at].saved.as_ref();
            let durable = saved.and_then(|text| Durable::decode(text.as_bytes()).ok());
            at != member
                && !self.nodes[at].has_lost
                && durable.is_some_and(|durable| durable.incarnation == seat.incarnation)
        };
        record.value.in_sync.iter().any(holds)
    }

    pub(super) fn end_life(&mut self, member: usize, crash: Crash) {
        self.has_lost_disks |= crash != Crash::Kill;
        self.nodes[member].has_lost |= crash != Crash::Kill && !self.setting.mode.is_flushed();
        self.nodes[member].installing = None;
        let Some(mut life) = self.nodes[member].life.take() else {
            if crash != Crash::Kill {
                let disk = &mut self.nodes[member].disk;
                *disk = disk.after_crash(disk.steps(), crash);
            }
            return;
        };
        self.note(&format!("member {member} ends: {crash:?}"));
        let number = life.number;
        life.abandon();
        let disk = &mut self.nodes[member].disk;
        *disk = disk.after_crash(disk.steps(), crash);
        self.nodes[member].paused_until = 0;
        if crash == Crash::Kill {
            // Its system closes the connections.
            let ended: Vec<(u64, bool)> = self
                .connections
                .iter()
                .filter_map(|(connection, stream)| match (member, number) {
                    side if side == stream.replica => Some((*connection, true)),
                    side if side == stream.master => Some((*connection, false)),
                    _ => None,
                })
                .collect();
            for (connection, to_master) in ended {
                self.put_part(connection, to_master, Part::End);
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.faults = false;
        self.note("no more faults");
        self.cut.clear();
        self.cut_to_place.clear();
        self.cut_from_place.clear();
        self.slow = None;
        for member in 0..MEMBERS {
            self.nodes[member].paused_until = self.nodes[member].paused_until.min(self.now);
            self.nodes[member].wall_ahead.store(0, Ordering::Relaxed);
            self.watched(member);
            if self.nodes[member].life.is_none() && self.nodes[member].installing.is_none() {
                self.later(1, Happening::Start { member });
            }
        }
    }

    /// All members are in sync, and the master has all that anybody was promised.
    pub(super) fn is_whole(&mut self) -> bool {
        let Some(record) = &self.place.record else {
            return false;
        };
        let in_sync = &record.value.in_sync;
        let mut lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        lives.any(|life| {
            let progress = life.progress().unwrap_or_default();
            // Who has removed more than the master does not enter the set.
            let members = progress.members.iter();
            let partial =
                members.filter(|member| member.partial && !in_sync.contains(&member.seat));
            let is_settled = life.open.is_some() && life.sent.is_empty();
            is_settled && in_sync.len() + partial.count() == MEMBERS
        })
    }

    /// What a master has acknowledged and the last one does not have is in the quarantine of some member.
    fn lost_are_kept(&mut self, messages: &BTreeMap<(u64, i64), Stored>) {
        // What was too old may be anywhere, and power takes what no disk had.
        if self.setting.retention_ms.is_some() || self.has_lost_disks {
            return;
        }
        let mut found: BTreeSet<u64> = messages.values().map(|stored| stored.message).collect();
        for node in &self.nodes {
            found.extend(node.quarantined());
        }
        let lost = self.checker.acked_messages().difference(&found).next();
        if let Some(lost) = lost.copied() {
            self.checker.fails(format!(
                "message {lost} was acknowledged, and neither the last master nor any quarantine has it"
            ));
        }
    }

    /// What the last master has.
    pub(super) fn compare(&mut self) {
        let master = self.nodes.iter().enumerate().find_map(|(member, node)| {
            let life = node.life.as_ref()?;
            life.open.map(|epoch| (member, epoch, life.messages()))
        });
        let Some((member, epoch, messages)) = master else {
            return;
        };
        self.checker.serves(member, epoch, &messages);
        self.lost_are_kept(&messages);
        for (other, node) in self.nodes.iter().enumerate() {
            let Some(life) = &node.life else {
                continue;
            };
            let below = self.checker.expired_below();
            let shown = life.messages().into_iter();
            for (at, stored) in shown.filter(|(_, stored)| stored.position >= below) {
                let at_master = messages.get(&at);
                if at_master != Some(&stored) && matches!(life.role, Role::Follower(_)) {
                    self.checker.fails(format!(
                        "member {other} shows {stored:?}, where the master has {at_master:?}"
                    ));
                }
            }
        }
    }
}
