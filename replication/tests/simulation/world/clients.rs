//! Clients: they send to whoever says that it is the master, and read from anybody.

use rmq_store::RetentionRound;

use super::{MEMBERS, World};
use crate::node::{QUEUES, Role};

impl World {
    pub(super) fn send(&mut self) {
        let message = self.next_message;
        let queue = self.random.below(QUEUES);
        let size_max = if self.setting.retention_ms.is_some() {
            14
        } else {
            11
        };
        let size = self.random.between(4, size_max);
        let bytes = self.random.below(1 << size) as usize;
        let who = self.random.below(MEMBERS as u64) as usize;
        // Whoever says that it is the master, with a random one first.
        for member in (who..MEMBERS).chain(0..who) {
            let now = self.boot(member);
            if self.is_paused(member) {
                continue;
            }
            let Some(life) = &mut self.nodes[member].life else {
                continue;
            };
            if life.open.is_some() && life.may_serve(now) && life.send(message, queue, bytes) {
                self.next_message += 1;
                self.pump(member);
                return;
            }
        }
    }

    /// Answers that are due leave, if the member may still answer.
    pub(super) fn settle(&mut self, member: usize) {
        let now = self.boot(member);
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let mut settled = std::mem::take(&mut *life.settled.lock());
        settled.sort_unstable();
        let may_answer = life.may_serve(now);
        let is_late = now >= life.serve_until;
        let mut acked = Vec::new();
        for (message, is_stored) in settled {
            if let Some(sent) = life.sent.remove(&message)
                && is_stored
                && may_answer
            {
                acked.push((message, sent));
            }
        }
        for (message, sent) in acked {
            self.note(&format!(
                "member {member} acknowledges {message} at {}/{}, up to {} in epoch {}",
                sent.stored.queue, sent.stored.offset, sent.end, sent.epoch
            ));
            self.checker
                .acked(sent.stored, sent.end, sent.epoch, member);
            if is_late {
                self.checker.fails(format!(
                    "member {member} acknowledges {message} after its time to serve"
                ));
            }
            self.check();
        }
    }

    pub(super) fn consume(&mut self) {
        let member = self.random.below(MEMBERS as u64) as usize;
        if self.is_paused(member) {
            return;
        }
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        for queue in 0..QUEUES {
            let from = life.read.get(&queue).copied().unwrap_or(0);
            let found = life.consume(queue, from);
            if let Some(last) = found.last() {
                life.read.insert(queue, last.offset + 1);
            }
            for stored in found {
                self.checker.saw(stored, member);
            }
        }
    }

    /// What is too old goes.
    pub(super) fn expire(&mut self) {
        for (member, node) in self.nodes.iter().enumerate() {
            let Some(life) = node.life.as_ref().filter(|_| node.paused_until <= self.now) else {
                continue;
            };
            let Some(store) = life.store() else {
                continue;
            };
            let needed_from = life.members.needed_from().map(|position| position.0);
            let round = RetentionRound {
                now_ms: Some(self.setting.wall_ms(&node.wall_ahead)),
                needed_from,
            };
            if let Err(error) = store.run_retention(round) {
                self.checker.fails(format!("member {member}: {error}"));
            }
            let min = store.positions().min;
            if matches!(life.role, Role::Master(_)) {
                self.checker.expired(min);
            }
            let below = self.checker.expired_below();
            if min > below {
                self.checker.fails(format!(
                    "member {member} has its log from {min} on, and no master has removed more than what lies below {below}"
                ));
            }
        }
    }
}
