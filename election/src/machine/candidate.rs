//! A candidate: the master is gone, and this member looks whether it is the one to claim.

use std::cmp::Reverse;

use crate::place::{MemberId, Phase, Reason, Record, Seat};

use super::action::Action;
use super::event::{BootMs, Position, Question, Standing};
use super::reason::NotEligible;
use super::state::{Candidate, Machine, Replica, Role};

/// How often a candidate leaves the claim to a better one that does not take it.
const YIELDS_MAX: u8 = 2;
/// How many times the limit for answers a member with an empty log waits for all others at the first start of a group.
const FIRST_WAITS: u64 = 10;

/// What a member would claim with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) reason: Reason,
    /// The set becomes the claimant alone.
    pub(super) alone: bool,
}

impl Machine {
    /// Goes on as a candidate, or becomes one.
    pub(super) fn stand(
        &mut self,
        mut replica: Replica,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let timings = self.config.timings;
        self.note_times(&mut replica, now);
        let reason = self.why_master_is_gone(&replica, now);
        let may = reason.is_some() && !self.link.is_gone;
        let hopeless = match self.right(&replica, &[], now) {
            Ok(_) => false,
            Err(why) => !matches!(
                why,
                NotEligible::FirstStart | NotEligible::Dirty | NotEligible::NotInSet
            ),
        };
        if !may || hopeless {
            replica.candidate = Candidate::No;
            return (Role::Replica(replica), false);
        }
        match replica.candidate.clone() {
            Candidate::Waiting { until } if until > now => (Role::Replica(replica), false),
            Candidate::No | Candidate::Waiting { .. } => {
                if !self.could_ever_claim(now) {
                    return (Role::Replica(replica), false);
                }
                self.round += 1;
                self.link.read_at = BootMs::default();
                self.read_place(now, out);
                self.read_lease(out);
                let members = self.addresses(|member| self.has_a_say(member.id));
                if !members.is_empty() {
                    out.push(Action::Ask {
                        round: self.round,
                        members,
                        question: Question::Standing { from: self.me },
                    });
                }
                replica.candidate = Candidate::Looking {
                    round: self.round,
                    until: now.after(timings.ask_ms),
                    answers: Vec::new(),
                    has_record: false,
                    has_lease: false,
                };
                (Role::Replica(replica), false)
            }
            Candidate::Looking {
                until,
                answers,
                has_record: true,
                has_lease: true,
                ..
            } if until <= now
                || reason == Some(Reason::Switchover)
                || self.has_all_answers(&answers) =>
            {
                self.decide(replica, &answers, now, out)
            }
            Candidate::Looking { .. } => (Role::Replica(replica), false),
        }
    }

    fn note_times(&self, replica: &mut Replica, now: BootMs) {
        let Some(record) = self.current() else {
            return;
        };
        let is_for_another = record.phase == Phase::Transferring
            && record
                .switchover
                .as_ref()
                .is_some_and(|switchover| switchover.to != self.me.member);
        if !is_for_another {
            replica.target_late_at = None;
        } else if replica.target_late_at.is_none() {
            replica.target_late_at = Some(now.after(self.config.timings.lease_ms));
        }
        if record.epoch > 0 {
            replica.first_at = None;
        } else if replica.first_at.is_none() {
            let waits = self.config.timings.ask_ms.saturating_mul(FIRST_WAITS);
            replica.first_at = Some(now.after(waits));
        }
    }

    /// Why there is no master to follow; `None` while there is one.
    fn why_master_is_gone(&self, replica: &Replica, now: BootMs) -> Option<Reason> {
        let record = self.current()?;
        if record.epoch == 0 {
            // Where the record was lost, the master of before may serve until its lease is over. A person who asks has found that, and this
            // member may have lost its disk with it.
            let is_new =
                (self.durable.epoch == 0 && record.unclean.is_none()) || !self.rules.lost_waits;
            return (is_new || self.is_lease_gone(now)).then_some(Reason::First);
        }
        let is_target = record
            .switchover
            .as_ref()
            .is_some_and(|switchover| switchover.to == self.me.member);
        if record.phase == Phase::Transferring && is_target {
            return Some(Reason::Switchover);
        }
        // This member's own former life: nobody else serves.
        let is_own = record
            .master
            .is_none_or(|master| master.member == self.me.member);
        // That a process has ended is no proof, and with acknowledgements by the whole set none is needed.
        let has_ended = replica.gone == Some(record.epoch) && record.policy.ack_mode.needs_set();
        (is_own || has_ended || self.is_lease_gone(now)).then_some(Reason::Failure)
    }

    /// Whether anything in the record gives this member a right to claim, now or after the answers of others.
    fn could_ever_claim(&self, now: BootMs) -> bool {
        let Some(record) = self.current() else {
            return false;
        };
        let was_in_set = record.in_sync.iter().any(|seat| self.was(*seat));
        let is_wanted = record
            .unclean
            .as_ref()
            .is_some_and(|unclean| unclean.to == self.me.member);
        let is_first = record.epoch == 0 && self.knows_no_master();
        let is_in_set = self.is_in_set() || !self.rules.claimant_in_set;
        (is_in_set || was_in_set || is_wanted || is_first) && self.promised_until <= now
    }

    /// Whether this member has not heard of any master, so that a group without one is new.
    fn knows_no_master(&self) -> bool {
        self.durable.epoch == 0 || !self.rules.lost_needs_person
    }

    /// Whether this member was that seat before it lost the end of its log.
    fn was(&self, seat: Seat) -> bool {
        seat.member == self.me.member && self.durable.former.contains(&seat.incarnation)
    }

    /// Whether a member's standing matters for the claim.
    fn has_a_say(&self, id: MemberId) -> bool {
        self.current().is_some_and(|record| {
            record.epoch == 0 || record.in_sync.iter().any(|seat| seat.member == id)
        })
    }

    fn has_all_answers(&self, answers: &[Standing]) -> bool {
        let asked = self.addresses(|member| self.has_a_say(member.id));
        asked
            .iter()
            .all(|member| answers.iter().any(|answer| answer.seat.member == member.id))
    }

    /// With which right this member may claim, with these answers of others.
    pub(super) fn right(
        &self,
        replica: &Replica,
        answers: &[Standing],
        now: BootMs,
    ) -> Result<Right, NotEligible> {
        let record = self.current().ok_or(NotEligible::PlaceAway)?;
        if record.member(self.me.member).is_none() {
            return Err(NotEligible::NotAMember);
        }
        if self.is_unfit {
            return Err(NotEligible::Unfit);
        }
        if self.partial {
            return Err(NotEligible::Partial);
        }
        if self.promised_until > now {
            return Err(NotEligible::Promised);
        }
        let unclean = record.unclean.as_ref();
        let is_wanted =
            unclean.is_some_and(|unclean| unclean.to == self.me.member && unclean.accept_loss);
        if record.epoch == 0 && self.knows_no_master() && !is_wanted {
            // A person has found the record lost: the group is not new, though this member is.
            return match unclean.is_some_and(|unclean| unclean.to != self.me.member) {
                true => Err(NotEligible::NotInSet),
                false => self.first_right(replica, answers, now),
            };
        }
        if self.is_in_set() || (!self.rules.claimant_in_set && record.epoch > 0) {
            if replica.target_late_at.is_some_and(|at| at > now) {
                return Err(NotEligible::NotTheTarget);
            }
            let reason = self.why_master_is_gone(replica, now);
            return Ok(Right {
                reason: reason.unwrap_or(Reason::Failure),
                alone: false,
            });
        }
        if is_wanted {
            return Ok(Right {
                reason: Reason::Unclean,
                alone: true,
            });
        }
        self.right_of_all_unclean(record, answers)
    }

    /// The first master of a group has all that there is: a member without messages waits for the others.
    fn first_right(
        &self,
        replica: &Replica,
        answers: &[Standing],
        now: BootMs,
    ) -> Result<Right, NotEligible> {
        let is_early = replica.first_at.is_none_or(|at| at > now);
        if self.log.end == 0 && is_early && !self.has_all_answers(answers) {
            return Err(NotEligible::FirstStart);
        }
        Ok(Right {
            reason: Reason::First,
            alone: true,
        })
    }

    /// If every member of the set has lost its end, and all of them are here, the longest log is all that is left.
    fn right_of_all_unclean(
        &self,
        record: &Record,
        answers: &[Standing],
    ) -> Result<Right, NotEligible> {
        if !record.in_sync.iter().any(|seat| self.was(*seat)) {
            return Err(NotEligible::NotInSet);
        }
        let is_here = |seat: &Seat| {
            self.was(*seat)
                || answers.iter().any(|answer| {
                    answer.seat.member == seat.member && answer.former.contains(&seat.incarnation)
                })
        };
        match record.in_sync.iter().all(is_here) {
            true => Ok(Right {
                reason: Reason::AllUnclean,
                alone: true,
            }),
            false => Err(NotEligible::Dirty),
        }
    }

    /// How many others have more and could claim too.
    fn better(&self, reason: Reason, answers: &[Standing]) -> u64 {
        let Some(record) = self.current() else {
            return 0;
        };
        let can = |answer: &&Standing| {
            let seat = answer.seat;
            let was = |known: &Seat| {
                known.member == seat.member && answer.former.contains(&known.incarnation)
            };
            !answer.partial
                && match reason {
                    Reason::First => true,
                    Reason::AllUnclean => record.in_sync.iter().any(was),
                    Reason::Failure | Reason::Switchover | Reason::Unclean => {
                        record.in_sync.contains(&seat)
                    }
                }
        };
        let rank = |log: Position, id: MemberId| (log, Reverse(id));
        let own = rank(self.log, self.me.member);
        let others = answers.iter().filter(can);
        let better = others.filter(|answer| rank(answer.log, answer.seat.member) > own);
        u64::try_from(better.count()).unwrap_or(u64::MAX)
    }

    fn decide(
        &mut self,
        mut replica: Replica,
        answers: &[Standing],
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let timings = self.config.timings;
        let right = match self.right(&replica, answers, now) {
            Ok(right) => right,
            Err(_) => {
                let until = now.after(timings.retry_ms);
                replica.candidate = Candidate::Waiting { until };
                return (Role::Replica(replica), false);
            }
        };
        let better = match right.reason {
            Reason::Switchover | Reason::Unclean => 0,
            reason => self.better(reason, answers),
        };
        // Who has more is the better master, but only where nothing is known to be kept must it be that one.
        let must_yield = matches!(right.reason, Reason::First | Reason::AllUnclean);
        if better > 0 && (must_yield || replica.yielded < YIELDS_MAX) {
            replica.yielded = replica.yielded.saturating_add(1);
            let until = now.after(timings.ask_ms.saturating_mul(better).max(1));
            replica.candidate = Candidate::Waiting { until };
            return (Role::Replica(replica), false);
        }
        self.begin_claim(replica, right, out)
    }

    pub(super) fn candidate_has_record(&mut self) {
        if let Role::Replica(replica) = &mut self.role
            && let Candidate::Looking { has_record, .. } = &mut replica.candidate
        {
            *has_record = true;
        }
    }

    pub(super) fn candidate_has_lease(&mut self) {
        if let Role::Replica(replica) = &mut self.role
            && let Candidate::Looking { has_lease, .. } = &mut replica.candidate
        {
            *has_lease = true;
        }
    }

    pub(super) fn candidate_failed(&mut self, now: BootMs) {
        let until = now.after(self.config.timings.retry_ms);
        if let Role::Replica(replica) = &mut self.role
            && matches!(replica.candidate, Candidate::Looking { .. })
        {
            replica.candidate = Candidate::Waiting { until };
        }
    }

    pub(super) fn candidate_answered(&mut self, asked: u64, standing: Standing) {
        let record = self.record.as_ref().map(|record| &record.value);
        let is_member = record.is_some_and(|record| record.member(standing.seat.member).is_some());
        if let Role::Replica(replica) = &mut self.role
            && let Candidate::Looking { round, answers, .. } = &mut replica.candidate
            && *round == asked
            && is_member
            && standing.seat.member != self.me.member
        {
            answers.retain(|known| known.seat.member != standing.seat.member);
            answers.push(standing);
        }
    }
}
