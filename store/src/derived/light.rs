//! Light queues whose messages have all left the log are forgotten: their heads leave the tables, and the queues leave the memory.
//!
//! Offsets are not given again all the same. One head says for all of them where a light queue begins that is not known: behind every offset that a
//! forgotten one has given. Heads that are removed and this one are written in one transaction. It has the name that no light queue has, the prefix alone, so
//! snapshots and backups copy it with the others.
//!
//! Each member forgets by itself, when its own log has lost the messages. What a record says counts: a member takes the offset from the record, wherever the
//! member itself would have begun the queue.

use std::sync::atomic::Ordering;

use super::seal::SealError;
use super::shared::Shared;

/// Heads that are looked at while the queues cannot be sealed.
const AT_ONCE: usize = 4_096;

impl Shared {
    /// Forgets light queues whose messages have all left the log, and those that never had one; but none that somebody holds. How many were forgotten.
    /// Looks only once for each beginning of the log: what is held then goes with a later one.
    pub(crate) fn forget_light(&self) -> Result<u64, SealError> {
        let start = self.log.start();
        if start <= self.light_forgotten_to.load(Ordering::Acquire) || self.queues.light() == 0 {
            return Ok(0);
        }
        let mut count = 0;
        let mut after: Option<Box<str>> = None;
        loop {
            // A seal writes heads of queues that were touched. These are held until then.
            let _one = self.sealing.lock();
            let heads = self.tables.light_heads_behind(after.as_deref(), AT_ONCE)?;
            let Some((last, _)) = heads.last() else { break };
            after = Some(last.clone());
            let expired = heads.into_iter().filter(|(_, head)| head.last <= start);
            let ends = expired.map(|(topic, head)| {
                let unseen = self.log.records_unseen_from(head.last);
                (topic, head.next.saturating_add(unseen))
            });
            let names = self.queues.begin_forgetting(ends.collect());
            if names.is_empty() {
                continue;
            }
            let begin = self.queues.light_begin();
            let removed = self.tables.forget_light_heads(&names, begin);
            self.queues.end_forgetting(&names, removed.is_ok());
            removed?;
            self.index.fs.crash_point("light.forgotten");
            count += names.len() as u64;
        }
        count += self.queues.forget_unused_light() as u64;
        self.light_forgotten_to.fetch_max(start, Ordering::AcqRel);
        Ok(count)
    }
}
