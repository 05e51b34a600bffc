//! A claim: nothing is followed any more, the intent is on disk, the lease is taken, and the swap of the record decides.

use crate::place::{Outcome, Phase, Reason, Record, TERMS_MAX, Term};

use super::action::Action;
use super::candidate::Right;
use super::event::{BootMs, LeaseSwapped};
use super::lease::LeaseOutcome;
use super::state::{Claim, ClaimStep, Machine, Replica, Role};

/// So many claims no member has missed.
const EPOCHS_APART: u64 = 1_000;

impl Machine {
    pub(super) fn begin_claim(
        &mut self,
        replica: Replica,
        right: Right,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let Some(record) = &self.record else {
            return (Role::Replica(replica), false);
        };
        // The log of a member that was a lone master before has epochs that no record knows.
        let newest = record
            .value
            .epoch
            .max(self.durable.epoch)
            .max(self.highest)
            .max(self.log.epoch);
        // With a record that was lost it is lost how many claims there were that this member has not heard of.
        let is_lost = record.value.epoch < self.durable.epoch
            || (record.value.epoch == 0 && right.reason == Reason::Unclean);
        let step = match is_lost && self.rules.lost_epochs_apart {
            true => EPOCHS_APART,
            false => 1,
        };
        let claim = Claim {
            step: ClaimStep::Marking,
            base: record.version,
            in_sync_version: record.value.in_sync_version,
            epoch: match self.rules.epoch_rises {
                true => newest.saturating_add(step),
                false => newest.max(1),
            },
            reason: right.reason,
            alone: right.alone,
            serve_until: BootMs::default(),
            has_lease: false,
        };
        // Also where nobody is followed, as far as this machine knows.
        if self.rules.unfollow_before_claim {
            out.push(Action::Unfollow);
        }
        if self.rules.claim_marker {
            self.save(|durable| durable.claim = Some(claim.epoch), out);
        }
        (Role::Claiming(claim), true)
    }

    pub(super) fn claim(
        &mut self,
        mut claim: Claim,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        match claim.step {
            ClaimStep::Marking if self.disk_failed => (Role::Claiming(claim), false),
            ClaimStep::Marking if self.saving.is_none() => {
                if self.swap_lease(true, now, out) {
                    claim.step = ClaimStep::Leasing;
                }
                (Role::Claiming(claim), false)
            }
            ClaimStep::Marking | ClaimStep::Leasing => (Role::Claiming(claim), false),
            ClaimStep::Swapping | ClaimStep::Reading if self.link.swapping.is_none() => {
                self.settle_claim(claim, now, out)
            }
            ClaimStep::Swapping | ClaimStep::Reading => (Role::Claiming(claim), false),
            ClaimStep::Unmarking => {
                if self.saving.is_some() || self.disk_failed {
                    return (Role::Claiming(claim), false);
                }
                if self.durable.claim.is_some() {
                    self.save(|durable| durable.claim = None, out);
                    return (Role::Claiming(claim), false);
                }
                (Role::Replica(Replica::default()), true)
            }
        }
    }

    /// What became of a swap of the lease.
    pub(super) fn lease_swapped(
        &mut self,
        swapped: LeaseSwapped,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        let (outcome, until) = self.was_lease_swapped(swapped, now);
        match std::mem::replace(&mut self.role, Role::Fenced { epoch: 0 }) {
            Role::Claiming(claim) if claim.step == ClaimStep::Leasing => {
                self.role = Role::Claiming(self.leased(claim, outcome, until, now, out));
            }
            Role::Master(mut master) => {
                self.renewed(&mut master, outcome, until, now, out);
                self.role = Role::Master(master);
            }
            other => self.role = other,
        }
    }

    fn leased(
        &mut self,
        mut claim: Claim,
        outcome: LeaseOutcome,
        until: BootMs,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> Claim {
        if outcome != LeaseOutcome::Won {
            // Somebody is quicker, or the place is hardly there.
            claim.step = ClaimStep::Unmarking;
            return claim;
        }
        claim.has_lease = true;
        claim.serve_until = until;
        if !self.is_possible(&claim) {
            // Another one has claimed meanwhile.
            self.swap_lease(false, now, out);
            claim.has_lease = false;
            claim.step = ClaimStep::Unmarking;
            return claim;
        }
        self.swap_claim(claim, out)
    }

    /// Whether the record is still such that the claim may be made: nobody has claimed the epoch, and the set is the same.
    fn is_possible(&self, claim: &Claim) -> bool {
        self.current().is_some_and(|record| {
            let is_new = record.epoch < claim.epoch && self.highest < claim.epoch;
            (is_new || !self.rules.epoch_rises)
                && record.in_sync_version == claim.in_sync_version
                && !self.link.is_gone
        })
    }

    fn swap_claim(&mut self, mut claim: Claim, out: &mut Vec<Action>) -> Claim {
        let Some(record) = &self.record else {
            claim.step = ClaimStep::Unmarking;
            return claim;
        };
        claim.base = record.version;
        let next = self.claimed(&claim, &record.value);
        self.swap(next, out);
        claim.step = ClaimStep::Swapping;
        claim
    }

    /// The record after the claim.
    fn claimed(&self, claim: &Claim, record: &Record) -> Record {
        let mut next = record.clone();
        next.epoch = claim.epoch;
        next.phase = Phase::Electing;
        next.master = Some(self.me);
        next.history.push(Term {
            epoch: claim.epoch,
            master: self.me,
            start: None,
            reason: claim.reason,
        });
        let surplus = next.history.len().saturating_sub(TERMS_MAX);
        next.history.drain(..surplus);
        if claim.alone {
            next.in_sync = vec![self.me];
            next.in_sync_version += 1;
        }
        let is_announced = record.phase == Phase::Transferring;
        if let Some(switchover) = next.switchover.take() {
            let to = switchover.to;
            if to == self.me.member || is_announced {
                let refused = (to != self.me.member).then(|| {
                    format!(
                        "member {to} did not take over, and member {} was elected",
                        self.me.member
                    )
                });
                next.outcome = Some(Outcome {
                    request: switchover.request,
                    refused,
                });
            } else {
                next.switchover = Some(switchover);
            }
        }
        if let Some(unclean) = next.unclean.take() {
            let refused = (claim.reason != Reason::Unclean).then(|| {
                let me = self.me.member;
                format!("member {me} could be elected without it")
            });
            next.outcome = Some(Outcome {
                request: unclean.request,
                refused,
            });
        }
        next
    }

    /// The swap was answered, or its result is not known.
    fn settle_claim(
        &mut self,
        mut claim: Claim,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let Some(record) = &self.record else {
            claim.step = ClaimStep::Unmarking;
            return (Role::Claiming(claim), true);
        };
        let (version, record) = (record.version, &record.value);
        let is_won = record.epoch == claim.epoch && record.master == Some(self.me);
        if is_won || !self.rules.swap_decides {
            return self.begin_mastership(&claim, now, out);
        }
        if self.link.unknown.is_some() {
            // It may still take place: until the version has moved on, nothing else is done.
            if !self.link.is_fresh {
                claim.step = ClaimStep::Reading;
                self.read_place(now, out);
                return (Role::Claiming(claim), false);
            }
            return (Role::Claiming(self.swap_claim(claim, out)), false);
        }
        let is_moved = version != claim.base;
        if is_moved && self.is_possible(&claim) {
            // Somebody has changed a request or the members.
            return (Role::Claiming(self.swap_claim(claim, out)), false);
        }
        self.give_up(claim, now, out)
    }

    fn give_up(&mut self, mut claim: Claim, now: BootMs, out: &mut Vec<Action>) -> (Role, bool) {
        if claim.has_lease {
            self.swap_lease(false, now, out);
            claim.has_lease = false;
        }
        claim.step = ClaimStep::Unmarking;
        (Role::Claiming(claim), true)
    }
}
