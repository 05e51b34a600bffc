//! What a master writes into the record: one swap at a time, with all that has changed.

use crate::place::{Outcome, Phase, Record};

use super::action::Action;
use super::event::BootMs;
use super::finding::Finding;
use super::state::{Machine, Mastership, TransferStep};

impl Machine {
    pub(super) fn write_record(
        &mut self,
        master: &mut Mastership,
        record: &Record,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        if self.link.swapping.is_some() || self.link.read_at > now {
            return;
        }
        // A swap whose result is not known is tried again on the same version, so that one of the two fails.
        if self.link.unknown.is_some() && !self.link.is_fresh {
            self.read_place(now, out);
            return;
        }
        let mut next = self.wanted(master, record, now);
        if self.link.unknown.is_none() && next == *record {
            return;
        }
        if next == *record {
            // Nothing is to be changed any more, but the open swap must be decided.
            next.in_sync_version += 1;
        }
        let refused = next
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.refused.clone());
        if let (Some(switchover), None, Some(because)) =
            (&record.switchover, &next.switchover, refused)
        {
            out.push(Action::Tell(Finding::SwitchoverTakenBack {
                to: switchover.to,
                because,
            }));
        }
        master.offered.extend(&next.in_sync);
        self.require(master, out);
        self.swap(next, out);
        self.require(master, out);
    }

    fn wanted(&self, master: &Mastership, record: &Record, now: BootMs) -> Record {
        let mut next = record.clone();
        next.in_sync = self.wanted_set(master, record, now);
        if next.in_sync != record.in_sync {
            next.in_sync_version += 1;
        }
        if let Some(group) = &self.config.group {
            next.members.clone_from(&group.members);
            next.policy = group.policy;
        }
        if record.phase == Phase::Electing && self.may_be_stable(master, record, now) {
            next.phase = Phase::Stable;
            let terms = next.history.iter_mut();
            for term in terms.filter(|term| term.epoch == master.epoch) {
                term.start = Some(master.start);
            }
        }
        if let Some(unclean) = next.unclean.take() {
            next.outcome = Some(Outcome {
                request: unclean.request,
                refused: Some(format!("member {} is master", self.me.member)),
            });
        }
        self.answer_switchover(master, record, &mut next, now);
        next
    }

    fn answer_switchover(
        &self,
        master: &Mastership,
        record: &Record,
        next: &mut Record,
        now: BootMs,
    ) {
        let Some(switchover) = &record.switchover else {
            return;
        };
        let to = switchover.to;
        let step = master.transfer.as_ref();
        let step = step.map(|transfer| (transfer.step, transfer.until <= now));
        let refused = match step {
            None if to == self.me.member => None,
            Some((TransferStep::Waiting, true)) => {
                Some(format!("member {to} was not in sync in time"))
            }
            Some((TransferStep::Draining { end_is_known }, is_late)) => {
                if end_is_known && master.is_drained(record) {
                    next.phase = Phase::Transferring;
                    return;
                }
                if !is_late {
                    return;
                }
                Some(format!(
                    "member {to} did not get the end of the log in time"
                ))
            }
            Some((TransferStep::TakingBack, _)) => {
                next.phase = Phase::Stable;
                Some(format!("member {to} did not take over in time"))
            }
            _ => return,
        };
        next.switchover = None;
        next.outcome = Some(Outcome {
            request: switchover.request.clone(),
            refused,
        });
    }
}
