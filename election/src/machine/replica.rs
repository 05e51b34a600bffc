//! A replica: follows the master that the record names, and becomes a candidate when the master is gone.

use super::action::Action;
use super::event::BootMs;
use super::state::{Candidate, Machine, Replica, Role};

impl Machine {
    pub(super) fn replicate(
        &mut self,
        mut replica: Replica,
        now: BootMs,
        out: &mut Vec<Action>,
    ) -> (Role, bool) {
        let Some(record) = self.current() else {
            return (Role::Joining { following: false }, true);
        };
        let (epoch, named) = (record.epoch, record.master);
        let is_asked = record.unclean.is_some();
        if !self.link.is_fresh || self.link.is_away {
            self.read_place(now, out);
        }
        if self.saving.is_some() || self.disk_failed {
            return (Role::Replica(replica), false);
        }
        // What is lower than the newest epoch is refused from now on, and after a crash too.
        let master = self.named_master();
        let is_news = epoch > self.durable.epoch
            || (epoch == self.durable.epoch && epoch > 0 && self.durable.master != master);
        if is_news && self.rules.persist_epoch {
            if replica.following.take().is_some() {
                out.push(Action::Unfollow);
            }
            self.save(
                |durable| {
                    durable.epoch = epoch;
                    durable.master = master;
                },
                out,
            );
            return (Role::Replica(replica), false);
        }
        if !self.durable.former.is_empty() && self.is_in_set() {
            self.save(|durable| durable.former.clear(), out);
            return (Role::Replica(replica), false);
        }
        let wanted = master
            .filter(|_| epoch > 0 && (epoch == self.durable.epoch || !self.rules.persist_epoch));
        let target = wanted.clone().map(|master| (master, epoch));
        if replica.following != target {
            if replica.following.is_some() {
                out.push(Action::Unfollow);
            }
            if let Some(master) = wanted {
                out.push(Action::Follow { master, epoch });
            }
            replica.following = target;
            replica.candidate = Candidate::No;
            replica.yielded = 0;
            replica.gone = None;
            replica.target_late_at = None;
        }
        // Of a record that was made anew nobody is the master yet.
        let had_master = named.is_some() || self.durable.epoch > 0 || is_asked;
        if had_master && self.lease.gone_at.is_none() {
            self.read_lease(out);
        }
        self.stand(replica, now, out)
    }
}
