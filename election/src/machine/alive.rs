//! How a master stays alive: it renews the lease, and when it cannot, all members that could claim must promise to wait.

use std::collections::BTreeSet;

use super::action::Action;
use super::event::{BootMs, Question, Standing};
use super::lease::LeaseOutcome;
use super::state::{Failsafe, Machine, Mastership, Role, TransferStep};

impl Machine {
    pub(super) fn stay_alive(
        &mut self,
        master: &mut Mastership,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        let step = master.transfer.as_ref().map(|transfer| transfer.step);
        let hands_over = matches!(step, Some(TransferStep::Announced | TransferStep::Released));
        if hands_over {
            return;
        }
        if master.renew_at <= now {
            self.swap_lease(true, now, out);
        }
        if master.away_at <= now {
            self.ask_for_promises(master, now, out);
        }
    }

    /// A renewal was answered.
    pub(super) fn renewed(
        &mut self,
        master: &mut Mastership,
        outcome: LeaseOutcome,
        until: BootMs,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        let timings = self.config.timings;
        if !self.lease.holding {
            master.was_released(outcome, timings, now);
            return;
        }
        match outcome {
            LeaseOutcome::Won => {
                let sent = BootMs(until.0.saturating_sub(timings.renew_deadline_ms));
                master.serve_until = master.serve_until.max(until);
                master.renew_at = sent.after(timings.retry_ms);
                master.away_at = sent.after(timings.away_ms);
                master.failsafe = None;
                out.push(Action::ServeUntil(master.serve_until));
            }
            LeaseOutcome::Lost => {
                // Its own renewal whose answer was lost, or a claimant's; the record says whether that claimant won.
                master.renew_at = now.after(timings.retry_ms / 4);
                self.look_again();
            }
            LeaseOutcome::Nothing => master.renew_at = now.after(timings.retry_ms),
        }
    }

    fn ask_for_promises(&mut self, master: &mut Mastership, now: BootMs, out: &mut Vec<Action>) {
        let timings = self.config.timings;
        let Some(record) = self.current() else {
            return;
        };
        if master
            .failsafe
            .as_ref()
            .is_some_and(|failsafe| failsafe.next_at > now)
        {
            return;
        }
        let others = self.waited(master, record);
        if others.is_empty() && record.policy.min_in_sync > 1 {
            return;
        }
        let serve_until = now.after(timings.renew_deadline_ms);
        let holds = match &master.failsafe {
            Some(before) => before.missing.is_empty(),
            None => false,
        };
        let members = self.addresses(|member| others.iter().any(|seat| seat.member == member.id));
        self.round += 1;
        let failsafe = Failsafe {
            round: self.round,
            missing: others,
            serve_until,
            next_at: now.after(timings.away_ms),
            holds,
        };
        if failsafe.missing.is_empty() {
            // Nobody else could claim.
            master.serve_until = master.serve_until.max(serve_until);
            out.push(Action::ServeUntil(master.serve_until));
        } else {
            out.push(Action::Ask {
                round: self.round,
                members,
                question: Question::Promise {
                    from: self.me,
                    epoch: master.epoch,
                },
            });
        }
        master.failsafe = Some(failsafe);
    }

    pub(super) fn promise_came(&mut self, round: u64, standing: &Standing, out: &mut Vec<Action>) {
        let Role::Master(master) = &mut self.role else {
            return;
        };
        let Some(failsafe) = &mut master.failsafe else {
            return;
        };
        if failsafe.round != round || standing.promised != Some(master.epoch) {
            return;
        }
        if !failsafe.missing.remove(&standing.seat) {
            return;
        }
        if !self.rules.failsafe_needs_all {
            failsafe.missing = BTreeSet::new();
        }
        if failsafe.missing.is_empty() {
            failsafe.holds = true;
            master.serve_until = master.serve_until.max(failsafe.serve_until);
            out.push(Action::ServeUntil(master.serve_until));
        }
    }
}
