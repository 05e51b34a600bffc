//! One step: what happened is taken in, and then everything is done that it allows.

use super::action::Action;
use super::event::{BootMs, Event, Question, Standing};
use super::state::{Machine, Role};

/// More turns than any event needs; the next event continues.
const TURNS_MAX: u32 = 8;
/// Epochs that are further ahead of the record are not believed.
const EPOCHS_AHEAD_MAX: u64 = 1 << 20;

impl Machine {
    /// Takes an event at a moment of the member's clock, and says what is to be done. Nothing else ever changes the machine.
    #[must_use]
    pub fn step(&mut self, event: Event, now: BootMs) -> Vec<Action> {
        let mut out = Vec::new();
        self.take(event, now, &mut out);
        for _ in 0..TURNS_MAX {
            if !self.turn(now, &mut out) {
                break;
            }
        }
        self.tell(now, &mut out);
        out
    }

    fn take(&mut self, event: Event, now: BootMs, out: &mut Vec<Action>) {
        match event {
            Event::Started { partial } => self.partial = partial,
            Event::Tick => {}
            Event::Log(log) => self.log = log,
            Event::Read(record) => {
                self.was_read(record);
                self.candidate_has_record();
            }
            Event::ReadFailed => {
                self.was_not_read(now);
                self.candidate_failed(now);
            }
            Event::Changed(record) => self.learn(record),
            Event::Swapped(swapped) => self.was_swapped(swapped, now),
            Event::LeaseRead(lease) => {
                self.lease.reading = false;
                self.see_lease(lease, now);
                self.candidate_has_lease();
            }
            Event::LeaseReadFailed => {
                self.lease.reading = false;
                self.candidate_failed(now);
            }
            Event::LeaseChanged(lease) => self.see_lease(lease, now),
            Event::LeaseSwapped(swapped) => self.lease_swapped(swapped, now, out),
            Event::Saved(durable) => {
                self.saving = None;
                self.durable = durable;
            }
            Event::SaveFailed => {
                self.saving = None;
                self.disk_failed = true;
            }
            Event::Promoted { epoch, start } => self.promoted(epoch, start, now),
            Event::PromotionFailed { .. } => self.promotion_failed(out),
            Event::Fenced => {
                if matches!(self.role, Role::Fenced { .. }) {
                    self.role = Role::Joining { following: false };
                    self.look_again();
                }
            }
            Event::Progress(progress) => self.progressed(progress, now),
            Event::Stop => self.stop(now, out),
            Event::EpochSeen(epoch) => self.epoch_seen(epoch),
            Event::MasterGone(epoch) => {
                if let Role::Replica(replica) = &mut self.role {
                    replica.gone = Some(epoch);
                }
            }
            Event::Asked { id, question } => {
                let standing = self.answer(question, now);
                out.push(Action::Answer { id, standing });
            }
            Event::Answered { round, standing } => self.answered(round, standing, out),
        }
    }

    /// Does one thing that can be done now; `false` when there is nothing.
    fn turn(&mut self, now: BootMs, out: &mut Vec<Action>) -> bool {
        if self.is_stopping {
            return false;
        }
        let nothing = Role::Fenced { epoch: 0 };
        let (role, again) = match std::mem::replace(&mut self.role, nothing) {
            Role::Joining { following } => self.join(following, now, out),
            Role::Replica(replica) => self.replicate(replica, now, out),
            Role::Claiming(claim) => self.claim(claim, now, out),
            Role::Master(master) => self.lead(master, now, out),
            fenced @ Role::Fenced { .. } => (fenced, false),
        };
        self.role = role;
        again
    }

    /// The lease of a master that stops is free at once; an open claim stays in the marker.
    fn stop(&mut self, now: BootMs, out: &mut Vec<Action>) {
        self.is_stopping = true;
        if let Role::Master(master) = &self.role {
            self.role = self.fence(master.epoch, super::reason::FenceReason::Stopping, out);
            self.swap_lease(false, now, out);
        } else {
            out.push(Action::Unfollow);
            self.role = Role::Joining { following: false };
        }
    }

    /// Whether a member that was told to stop has nothing more to do.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.is_stopping
            && self.lease.swapping.is_none()
            && self.saving.is_none()
            && matches!(self.role, Role::Joining { .. })
    }

    fn epoch_seen(&mut self, epoch: u64) {
        let known = self.current().map_or(0, |record| record.epoch);
        if epoch <= known.saturating_add(EPOCHS_AHEAD_MAX) && epoch > self.highest {
            self.highest = epoch;
            self.look_again();
        }
    }

    /// Where this member is; with a promise to a master that may have one.
    fn answer(&mut self, question: Question, now: BootMs) -> Standing {
        let promised = match question {
            Question::Standing { .. } => None,
            Question::Promise { from, epoch } => {
                let is_replica = matches!(self.role, Role::Replica(_) | Role::Joining { .. });
                let is_its_master = match &self.durable.master {
                    Some(master) => master.seat == from,
                    None => false,
                };
                let agrees = is_replica
                    && is_its_master
                    && epoch == self.durable.epoch
                    && self.durable.claim.is_none()
                    && self.saving.is_none()
                    && self.highest <= epoch;
                if agrees && self.rules.promise_holds {
                    self.promised_until = now.after(self.config.timings.lease_ms);
                }
                agrees.then_some(epoch)
            }
        };
        Standing {
            seat: self.me,
            epoch: self.durable.epoch,
            log: self.log,
            former: self.durable.former.clone(),
            partial: self.partial,
            promised,
        }
    }

    fn answered(&mut self, round: u64, standing: Standing, out: &mut Vec<Action>) {
        self.epoch_seen(standing.epoch);
        match self.role {
            Role::Replica(_) => self.candidate_answered(round, standing),
            Role::Master(_) => self.promise_came(round, &standing, out),
            Role::Joining { .. } | Role::Claiming(_) | Role::Fenced { .. } => {}
        }
    }

    /// Writes the state that must survive, if it is not written or being written already.
    pub(super) fn save(
        &mut self,
        change: impl FnOnce(&mut super::durable::Durable),
        out: &mut Vec<Action>,
    ) {
        let mut next = self.durable.clone();
        change(&mut next);
        if next != self.durable && self.saving.is_none() {
            self.saving = Some(next.clone());
            out.push(Action::Save(next));
        }
    }
}
