//! A master: from the claim that was won to the fence.

use std::collections::BTreeSet;

use crate::place::{Phase, Record, Seat};

use super::action::Action;
use super::event::{BootMs, Progress};
use super::finding::Finding;
use super::reason::{FenceReason, WritesClosed};
use super::state::{Claim, Machine, Mastership, Role, Stage, TransferStep, Writes};

impl Machine {
    pub(super) fn begin_mastership(
        &mut self,
        claim: &Claim,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let timings = self.config.timings;
        let epoch = claim.epoch;
        self.save(
            |durable| {
                durable.epoch = epoch;
                durable.master = None;
                durable.claim = None;
                durable.former.clear();
            },
            out,
        );
        out.push(Action::ServeUntil(claim.serve_until));
        let master = Mastership {
            epoch,
            stage: Stage::Saving,
            start: 0,
            offered: BTreeSet::new(),
            joining: Vec::new(),
            required: Vec::new(),
            number: 0,
            progress: Progress::default(),
            peers: Vec::new(),
            marks: Vec::new(),
            serve_until: claim.serve_until,
            renew_at: now.after(timings.retry_ms),
            away_at: now.after(timings.away_ms),
            failsafe: None,
            writes: Writes::NotYet,
            transfer: None,
        };
        (Role::Master(Box::new(master)), true)
    }

    pub(super) fn promoted(&mut self, epoch: u64, start: u64, now: BootMs) {
        let until = now.after(self.config.timings.recover_limit_ms);
        if let Role::Master(master) = &mut self.role
            && master.epoch == epoch
            && master.stage == Stage::Promoting
        {
            master.start = start;
            master.stage = Stage::Gathering { until };
        }
    }

    pub(super) fn promotion_failed(&mut self, out: &mut Vec<Action>) {
        if let Role::Master(master) = &self.role {
            self.is_unfit = true;
            self.role = self.fence(master.epoch, FenceReason::PromotionFailed, out);
        }
    }

    pub(super) fn progressed(&mut self, progress: Progress, now: BootMs) {
        let timings = self.config.timings;
        if let Role::Master(master) = &mut self.role {
            master.progressed(progress, timings, now);
        }
    }

    pub(super) fn fence(&self, epoch: u64, why: FenceReason, out: &mut Vec<Action>) -> Role {
        out.push(Action::Fence { why });
        out.push(Action::Tell(Finding::Fenced { epoch, why }));
        Role::Fenced { epoch }
    }

    /// Why this member must stop being master.
    fn fence_reason(&self, master: &Mastership, now: BootMs) -> Option<FenceReason> {
        let record = self.current()?;
        let is_named = record.epoch == master.epoch && record.master == Some(self.me);
        if self.highest > master.epoch {
            Some(FenceReason::HigherEpoch(self.highest))
        } else if self.rules.swap_decides && (!is_named || self.link.is_gone) {
            Some(FenceReason::NotMaster)
        } else if self.disk_failed {
            Some(FenceReason::DiskFailed)
        } else if master.serve_until <= now {
            Some(FenceReason::TimeIsUp)
        } else {
            None
        }
    }

    pub(super) fn lead(
        &mut self,
        mut master: Box<Mastership>,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        self.stay_alive(&mut master, now, out);
        if let Some(why) = self.fence_reason(&master, now) {
            return (self.fence(master.epoch, why, out), false);
        }
        match master.stage {
            Stage::Saving if self.saving.is_none() => {
                master.stage = Stage::Promoting;
                self.require(&mut master, out);
                let epoch = match self.rules.begin_epoch {
                    true => master.epoch,
                    false => self.log.epoch,
                };
                out.push(Action::Promote { epoch });
                return (Role::Master(master), false);
            }
            Stage::Saving | Stage::Promoting => return (Role::Master(master), false),
            Stage::Gathering { .. } | Stage::Active => {}
        }
        if !self.link.is_fresh || self.link.is_away {
            self.read_place(now, out);
        }
        if !self.is_swap_open() {
            master.offered.clear();
        }
        let Some(record) = self.current().cloned() else {
            return (Role::Master(master), false);
        };
        if record.phase != Phase::Electing {
            master.stage = Stage::Active;
        }
        master.watch_set(&record, self.me, self.config.timings, now);
        self.hand_over(&mut master, &record, now, out);
        self.join_members(&mut master, &record, now);
        self.require(&mut master, out);
        self.gate_writes(&mut master, &record, out);
        self.write_record(&mut master, &record, now, out);
        (Role::Master(master), false)
    }

    /// Opens or closes the writes as the set and the switchover allow.
    fn gate_writes(&self, master: &mut Mastership, record: &Record, out: &mut Vec<Action>) {
        if master.stage != Stage::Active {
            return;
        }
        let in_sync = u32::try_from(self.waited(master, record).len() + 1).unwrap_or(u32::MAX);
        let min_in_sync = record.policy.min_in_sync;
        let wanted = match &master.transfer {
            Some(transfer) if transfer.step != TransferStep::Waiting => match &master.writes {
                // The target was noted when they were closed.
                Writes::Closed(why @ WritesClosed::Switchover(_)) => Writes::Closed(*why),
                _ => match &record.switchover {
                    Some(switchover) => Writes::Closed(WritesClosed::Switchover(switchover.to)),
                    None => master.writes,
                },
            },
            _ if in_sync < min_in_sync => Writes::Closed(WritesClosed::BelowMinimum {
                in_sync,
                min_in_sync,
            }),
            _ => Writes::Open,
        };
        if wanted == master.writes {
            return;
        }
        match wanted {
            Writes::Open => out.push(Action::OpenWrites {
                epoch: master.epoch,
            }),
            Writes::Closed(why) => out.push(Action::CloseWrites { why }),
            Writes::NotYet => return,
        }
        if master.writes == Writes::NotYet {
            out.push(Action::Tell(Finding::BecameMaster {
                epoch: master.epoch,
            }));
        }
        master.writes = wanted;
    }

    /// Everybody who could be elected, and everybody who may be in the set without the master knowing; without the master.
    pub(super) fn waited(&self, master: &Mastership, record: &Record) -> BTreeSet<Seat> {
        let mut waited: BTreeSet<Seat> = record.in_sync.iter().copied().collect();
        if self.rules.union_while_growing {
            waited.extend(&master.offered);
            waited.extend(master.joining.iter().map(|(seat, _)| *seat));
        }
        if !self.rules.shrink_after_commit
            && let Some(attempt) = &self.link.swapping
        {
            waited.retain(|seat| attempt.next.in_sync.contains(seat));
        }
        waited.remove(&self.me);
        waited
    }

    /// Tells the store for whom it waits, when that has changed.
    pub(super) fn require(&self, master: &mut Mastership, out: &mut Vec<Action>) {
        let Some(record) = self.current() else {
            return;
        };
        let required: Vec<Seat> = match record.policy.ack_mode.needs_set() {
            true => {
                let mut waited = self.waited(master, record);
                // Too few are left to acknowledge what was stored with more: it waits for those who were there, or for enough others.
                let is_short = waited.len() + 1 < record.policy.min_in_sync as usize;
                if is_short && master.writes != Writes::NotYet {
                    waited.extend(&master.required);
                }
                waited.into_iter().collect()
            }
            false => Vec::new(),
        };
        if master.number > 0 && required == master.required {
            return;
        }
        master.number += 1;
        master.required.clone_from(&required);
        out.push(Action::Require {
            number: master.number,
            members: required,
        });
    }
}
