//! What holds at every moment.

use super::World;
use crate::node::Role;

impl World {
    /// Looks at the whole group, as nobody in it can.
    pub(super) fn check(&mut self) {
        if self.setting.mode.needs_set() {
            if let Err(text) = self.set_has_what_was_acknowledged() {
                self.checker.fails(text);
            }
            if let Err(text) = self.set_is_waited_for() {
                self.checker.fails(text);
            }
        }
        if let Err(text) = self.one_serves() {
            self.checker.fails(text);
        }
    }

    fn set_has_what_was_acknowledged(&self) -> Result<(), String> {
        let in_sync = self
            .place
            .record
            .iter()
            .flat_map(|record| &record.value.in_sync);
        let acked_end = self.checker.acked_end();
        for seat in in_sync {
            let life = self.nodes[seat.member.0 as usize].life.as_ref();
            let life = life.filter(|life| life.machine.me() == *seat);
            if let Some(has) = life.and_then(|life| life.has())
                && has < acked_end
            {
                return Err(format!(
                    "{seat} is in the set and has the log up to {has}, and what lies below {acked_end} was acknowledged"
                ));
            }
        }
        Ok(())
    }

    /// The set of the record is a part of what its master waits for.
    fn set_is_waited_for(&self) -> Result<(), String> {
        let Some(record) = self.place.record.as_ref().map(|record| &record.value) else {
            return Ok(());
        };
        for life in self.nodes.iter().filter_map(|node| node.life.as_ref()) {
            let me = life.machine.me();
            let is_master = life.machine.mastership() == Some(record.epoch)
                && record.master == Some(me)
                && matches!(life.role, Role::Master(_));
            let mut set = record.in_sync.iter();
            let missing = set.find(|seat| **seat != me && !life.required.1.contains(seat));
            if let Some(missing) = missing.filter(|_| is_master) {
                return Err(format!(
                    "{missing} is in the set, and the master {me} does not wait for it"
                ));
            }
        }
        Ok(())
    }

    /// At no moment two members may act as master by their clocks, as long as the clocks run alike.
    fn one_serves(&self) -> Result<(), String> {
        let may = |member: &usize| {
            let life = self.nodes[*member].life.as_ref();
            life.is_some_and(|life| life.open.is_some() && self.boot(*member) < life.serve_until)
        };
        let serving: Vec<usize> = (0..self.nodes.len()).filter(may).collect();
        match serving.len() > 1 && !self.has_jumped {
            true => Err(format!("members {serving:?} serve at one moment")),
            false => Ok(()),
        }
    }
}
