//! Joining: nothing was read since the start.

use crate::place::Record;

use super::action::Action;
use super::event::BootMs;
use super::state::{Machine, Replica, Role};

impl Machine {
    pub(super) fn join(
        &mut self,
        mut following: bool,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let stay = |following| (Role::Joining { following }, false);
        if self.saving.is_some() || self.disk_failed {
            return stay(following);
        }
        if !self.link.is_fresh {
            // An open claim forbids to follow anybody before the record was read.
            let may_follow = self.durable.claim.is_none() || !self.rules.claim_marker;
            if self.link.is_away && may_follow && !following {
                following = self.follow_as_before(out);
            }
            self.read_place(now, out);
            return stay(following);
        }
        let Some(record) = &self.record else {
            return self.make_record(following, now, out);
        };
        // The record was put back to an older state; a person must look.
        let is_older = record.value.epoch < self.durable.epoch && record.value.epoch > 0;
        if self.durable.claim.is_some() {
            self.save(|durable| durable.claim = None, out);
            return stay(following);
        }
        let master = self.named_master();
        let was = self.durable.master.clone();
        let is_same = record.value.epoch == self.durable.epoch && master == was;
        if following && !is_same && !is_older {
            out.push(Action::Unfollow);
            following = false;
        }
        let replica = Replica {
            following: was
                .filter(|_| following)
                .map(|master| (master, self.durable.epoch)),
            ..Replica::default()
        };
        (Role::Replica(replica), true)
    }

    /// The place is away: the master of the newest epoch that was accepted may still serve.
    fn follow_as_before(&mut self, out: &mut Vec<Action>) -> bool {
        let Some(master) = self.durable.master.clone() else {
            return false;
        };
        out.push(Action::Follow {
            master,
            epoch: self.durable.epoch,
        });
        true
    }

    /// The place holds nothing yet. A member that had a master before makes no new record: the set would be lost with the old one.
    fn make_record(&mut self, following: bool, now: BootMs, out: &mut Vec<Action>) -> (Role, bool) {
        if self.link.swapping.is_none() && self.link.read_at <= now {
            let is_new = self.durable.epoch == 0 || !self.rules.lost_needs_person;
            match &self.config.group {
                Some(group) if is_new && self.link.is_gone => {
                    let record = Record::vacant(group.members.clone(), group.policy);
                    self.link.is_gone = false;
                    self.swap(record, out);
                }
                _ => {
                    self.look_again();
                    self.link.read_at = now.after(self.config.timings.retry_ms);
                }
            }
        }
        (Role::Joining { following }, false)
    }
}
